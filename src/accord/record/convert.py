"""From one kind of feedback to another: named conversions, each of which says what it loses."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace

from accord.record.types import Feedback, Group, Preference, Response


def score_name(group: Group) -> str | None:
    """The score that stands for all: `overall`, else the only one that is given beside a cost, else none."""
    names = {name for feedback in group.feedback for name in feedback.scores} - {"cost"}
    return "overall" if "overall" in names else names.pop() if len(names) == 1 else None


def preferences_from_scores(group: Group) -> Group:
    """Prefer each response to every one with a lower score.

    Loses: by how much one response is better, and ties.
    """
    return _with_preferences(group, _ordered_pairs([-x if x is not None else None for x in main_scores(group)]))


def best_against_worst(group: Group) -> Group:
    """Prefer the response with the highest score to the one with the lowest; the first of equals counts.

    Loses: by how much it is better, and the responses in between.
    """
    given = [(score, -index) for index, score in enumerate(main_scores(group)) if score is not None]
    if not given or max(given)[0] == min(given)[0]:
        return group
    return _with_preferences(group, [Preference(-max(given)[1], -max((-s, i) for s, i in given)[1])])


def preferences_from_ranking(group: Group, ranks: Sequence[float | None]) -> Group:
    """Prefer each response to every one of a worse rank; rank 0 or 1 is best, equal ranks tie, `None` is not ranked.

    Loses: ties, and that the comparisons come from one ranking.
    """
    return _with_preferences(group, _ordered_pairs(ranks))


def preferences_from_labels(group: Group) -> Group:
    """Prefer each desirable response to each undesirable one.

    Loses: that a response is good or bad by itself, and responses without a counterpart.
    """
    return _with_preferences(group, _ordered_pairs([-label if label else None for label in group.labels()]))


def labels_from_preferences(group: Group) -> Group:
    """Label a response desirable when it wins more weight than it loses, undesirable when it loses more.

    Loses: which response was compared with which; a rejected response counts as bad, a chosen one as good.
    """
    net = _net_wins(group)
    return _with_labels(group, [None if wins == 0 else wins > 0 for wins in net])


def labels_from_scores(group: Group, *, threshold: float) -> Group:
    """Label a response desirable when its score is at least `threshold`.

    Loses: by how much a response is above or below the threshold.
    """
    return _with_labels(group, [None if score is None else score >= threshold for score in main_scores(group)])


def distribution_from_preferences(group: Group) -> Group:
    """Give each response its share of all the weight that was won: 1 and 0 for a pair, 0.8 and 0.2 for a doubtful one.

    Loses: which response was compared with which.
    """
    won = [0.0] * len(group.responses)
    for preference in group.preferences():
        won[preference.better] += preference.weight
    if not sum(won):
        return group
    first = group.feedback[0]
    shares = tuple(weight / sum(won) for weight in won)
    return replace(group, feedback=(*group.feedback, Feedback(first.source, first.name, distribution=shares)))


def best_response(group: Group) -> Group:
    """Keep the response that wins most, or else scores highest, as a demonstration; the first of equals counts.

    Loses: all other responses, and the feedback.
    """
    if any(True for _ in group.preferences()):
        values: Sequence[float | None] = _net_wins(group)
    else:
        values = main_scores(group)
    given = [(value, -index) for index, value in enumerate(values) if value is not None]
    return replace(select(group, [-max(given)[1]]) if given else group, feedback=())


def desirable_responses(group: Group) -> Group:
    """Keep the responses that are labelled desirable as demonstrations.

    Loses: all other responses, and the feedback.
    """
    kept = [index for index, label in enumerate(group.labels()) if label > 0]
    return replace(select(group, kept), feedback=())


def pairs_of(group: Group) -> list[Group]:
    """One Group of two responses for each preference, the better response first.

    Loses: that the pairs share their prompt and responses, labels and scores.
    """
    return [
        replace(
            group,
            responses=(group.responses[preference.better], group.responses[preference.worse]),
            feedback=(Feedback(feedback.source, feedback.name, (Preference(0, 1, preference.weight),)),),
        )
        for feedback in group.feedback
        for preference in feedback.preferences
    ]


def singles_of(group: Group) -> list[Group]:
    """One Group for each response, with its labels and scores.

    Loses: preferences between the responses.
    """
    return [select(group, [index]) for index in range(len(group.responses))]


def merge_prompts(groups: Iterable[Group]) -> list[Group]:
    """Join Groups of the same prompt into one, in the order of their first appearance.

    Loses: the origin and identifier of all but the first.
    """
    by_prompt: dict[object, list[Group]] = {}
    for group in groups:
        by_prompt.setdefault(group.prompt, []).append(group)
    return [_joined(same) for same in by_prompt.values()]


def select(group: Group, kept: Sequence[int]) -> Group:
    """The Group with only some of its responses, in the given order, and the feedback that concerns them.

    Loses: preferences that involve another response.
    """
    place = {old: new for new, old in enumerate(kept)}
    feedback = tuple(
        replace(
            one,
            preferences=tuple(
                Preference(place[p.better], place[p.worse], p.weight)
                for p in one.preferences
                if p.better in place and p.worse in place
            ),
            labels=None if one.labels is None else tuple(one.labels[index] for index in kept),
            scores={name: tuple(row[index] for index in kept) for name, row in one.scores.items()},
            distribution=_renormalised(one.distribution, kept),
            step_scores=None if one.step_scores is None else tuple(one.step_scores[index] for index in kept),
        )
        for one in group.feedback
    )
    return replace(group, responses=tuple(group.responses[index] for index in kept), feedback=feedback)


def loses(conversion: Callable[..., object]) -> str:
    """What a conversion loses, as its docstring says it."""
    _, _, sentence = (inspect.getdoc(conversion) or "").partition("Loses: ")
    return " ".join(sentence.split()).rstrip(".")


def _joined(groups: Sequence[Group]) -> Group:
    if len(groups) == 1:
        return groups[0]
    total = sum(len(group.responses) for group in groups)
    responses: list[Response] = []
    feedback: list[Feedback] = []
    for group in groups:
        start, count = len(responses), len(group.responses)
        responses.extend(group.responses)
        before, after = (None,) * start, (None,) * (total - start - count)
        feedback.extend(
            replace(
                one,
                preferences=tuple(Preference(p.better + start, p.worse + start, p.weight) for p in one.preferences),
                labels=None if one.labels is None else (*before, *one.labels, *after),
                scores={name: (*before, *row, *after) for name, row in one.scores.items()},
                distribution=None,
                step_scores=None
                if one.step_scores is None
                else (*((),) * start, *one.step_scores, *((),) * (total - start - count)),
            )
            for one in group.feedback
        )
    return replace(groups[0], responses=tuple(responses), feedback=tuple(feedback))


def main_scores(group: Group) -> tuple[float | None, ...]:
    """The score that stands for all, one value a response; `None` where it is missing."""
    name = score_name(group)
    return (None,) * len(group.responses) if name is None else group.scores(name) or ()


def _net_wins(group: Group) -> list[float]:
    net = [0.0] * len(group.responses)
    for preference in group.preferences():
        net[preference.better] += preference.weight
        net[preference.worse] -= preference.weight
    return net


def _ordered_pairs(ranks: Sequence[float | None]) -> list[Preference]:
    """A preference for each two places with different ranks, the lower rank being better."""
    given = [(rank, index) for index, rank in enumerate(ranks) if rank is not None]
    return [Preference(i, j) for low, i in sorted(given) for high, j in sorted(given) if low < high]


def _with_preferences(group: Group, preferences: Sequence[Preference]) -> Group:
    if not preferences:
        return group
    first = group.feedback[0] if group.feedback else Feedback("dataset")
    derived = Feedback(first.source, first.name, tuple(preferences))
    return replace(group, feedback=(*group.feedback, derived))


def _with_labels(group: Group, labels: Sequence[bool | None]) -> Group:
    first = group.feedback[0] if group.feedback else Feedback("dataset")
    return replace(group, feedback=(*group.feedback, Feedback(first.source, first.name, labels=tuple(labels))))


def _renormalised(distribution: tuple[float, ...] | None, kept: Sequence[int]) -> tuple[float, ...] | None:
    if distribution is None:
        return None
    total = sum(distribution[index] for index in kept)
    return tuple(distribution[index] / total for index in kept) if total > 0 else None
