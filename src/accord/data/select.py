"""Choose among scored responses: demonstrations from the best of them, or pairs that differ enough. No torch.

Sample, score, select, train: each stage reads and writes Groups. Imitating what was selected is best-of-n or
rejection-sampling fine-tuning (`sft`), training on the selected pairs is RS-DPO (`dpo`). Reward-weighted likelihood
selects nothing and weighs everything: `rwr` and `awr` take scored Groups as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec.structs import replace

from accord.record import Feedback, Group, Preference
from accord.record.convert import main_scores, select


def best_of_n(group: Group, *, keep: int = 1) -> Group | None:
    """The `keep` best different responses, as demonstrations; `None` if no response has a score.

    The first of equals counts. Feedback stays behind.
    """
    return _demonstrations(group, [index for _, index in ranked(group)][:keep])


def rejection_sampled(group: Group, *, threshold: float, most: int) -> Group | None:
    """The different responses that score at least `threshold`, at most `most` of them, as demonstrations.

    `None` if there is none. Rejection-sampling fine-tuning, and RAFT with `threshold_of` a share.

    Source: Dong et al. 2023, "RAFT: reward ranked finetuning for generative foundation model alignment"
    (arXiv:2304.06767); Yuan et al. 2023, "Scaling relationship on learning mathematical reasoning" (arXiv:2308.01825).
    """
    return _demonstrations(group, [index for score, index in ranked(group) if score >= threshold][:most])


def threshold_of(groups: Sequence[Group], share: float) -> float | None:
    """The score that the best `share` of all different responses reach; `None` if none has a score."""
    scores = sorted((score for group in groups for score, _ in ranked(group)), reverse=True)
    return scores[max(1, math.floor(share * len(scores))) - 1] if scores else None


def certain_pairs(group: Group, *, certainty: float, temperature: float = 1.0, most: int | None = None) -> Group | None:
    r"""Prefer one response to another wherever the score is certain enough; `None` if it nowhere is.

    .. math:: y_i \succ y_j \quad\text{if}\quad \sigma\left(\frac{s_i - s_j}{\tau}\right) > \eta

    Responses in no pair, and earlier feedback, are left behind.

    Args:
        group: responses with scores; equal texts count once.
        certainty: the probability (eta) above which a pair is accepted, at least 0.5 and below 1.
        temperature: score difference (tau) at which the odds are e to one.
        most: pairs of a prompt at most, the most certain first: many pairs of one prompt say much the same.

    Source: Khaki et al. 2024, "RS-DPO: a hybrid rejection sampling and direct preference optimization method"
    (arXiv:2402.10038), algorithm 1, which has no limit to the pairs of a prompt.
    """
    needed = temperature * math.log(certainty / (1.0 - certainty))
    order = ranked(group)
    gaps = [(high - low, i, j) for high, i in order for low, j in order if high - low > needed]
    pairs = sorted(gaps, key=lambda pair: -pair[0])[:most]
    if not pairs:
        return None
    source = next(one for one in group.feedback if one.scores)
    preferences = tuple(Preference(i, j) for _, i, j in sorted(pairs, key=lambda pair: pair[1:]))
    paired = replace(group, feedback=(Feedback(source.source, source.name, preferences),))
    return select(paired, sorted({index for _, *both in pairs for index in both}))


def best_of_n_divergence(n: int) -> float:
    r"""How far, in nats, the best of n answers are from the policy that sampled them: :math:`\log n - (n-1)/n` at most.

    Source: Beirami et al. 2024, "Theoretical guarantees on the best-of-n alignment policy" (arXiv:2401.01879): it is a
    bound, tight when no answer is likely.
    """
    return math.log(n) - (n - 1) / n


def ranked(group: Group) -> list[tuple[float, int]]:
    """Score and index of the different responses that have one, the best first."""
    first: dict[object, tuple[float, int]] = {}
    for index, (response, score) in enumerate(zip(group.responses, main_scores(group), strict=True)):
        if score is not None:
            first.setdefault((response.context, response.text), (score, index))
    return sorted(first.values(), key=lambda pair: (-pair[0], pair[1]))


def _demonstrations(group: Group, kept: Sequence[int]) -> Group | None:
    return replace(select(group, kept), feedback=()) if kept else None
