"""Which objective fits the feedback at hand, and why: rules of the field, with the command to run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

import msgspec

from accord.recipes.evidence import Evidence

FEW = 200
"""Comparisons, labels or scores below which training mostly learns the sample."""

NOISY = 0.03
"""Share of contradicting pairs from which labels are worth distrusting."""


class Choice(msgspec.Struct, frozen=True):
    """One way to train on the data.

    Attributes:
        objective: what `accord train` calls it.
        groups: how many Groups it can learn from.
        why: the reason in a sentence.
        commands: what to run, in order.
    """

    objective: str
    groups: int
    why: str
    commands: tuple[str, ...]


class Advice(msgspec.Struct, frozen=True):
    """The best choice first, then others that fit, and what to beware of."""

    choices: tuple[Choice, ...]
    cautions: tuple[str, ...]


def advise(evidence: Evidence, data: Sequence[str], *, model: str = "MODEL", flags: Sequence[str] = ()) -> Advice:
    """Advice on what the data holds.

    The kind of feedback decides, and where there are several kinds, the one with the most Groups comes first.

    Args:
        evidence: what the data holds.
        data: where it is, for the commands.
        model: what to train, for the commands.
        flags: settings that every training takes, such as those that make it fit into memory.
    """
    command = _Command(data, model, flags)
    choices = [choice for kind in _KINDS for choice in kind(evidence, command) if choice.groups]
    ranked = sorted(enumerate(choices), key=lambda pair: (-pair[1].groups, pair[0]))
    return Advice(tuple(choice for _, choice in ranked), tuple(_cautions(evidence)))


class _Command:
    """Writes command lines."""

    def __init__(self, data: Sequence[str], model: str, flags: Sequence[str]) -> None:
        self.data, self.model, self.flags = data, model, flags

    def train(self, objective: str, *own: str, data: Sequence[str] | None = None) -> str:
        """Train an objective, with its own flags."""
        files = self.data if data is None else data
        return shlex.join(["accord", "train", objective, "--model", self.model, "--data", *files, *own, *self.flags])

    def run(self, *words: str) -> str:
        """Any other command on the data."""
        return shlex.join(["accord", *words])


def _pairs(evidence: Evidence, command: _Command) -> Iterator[Choice]:
    count = evidence.preferences
    if len(evidence.annotators) > 1:
        names = ", ".join(list(evidence.annotators)[:4])
        why = f"{len(evidence.annotators)} annotators or groups ({names}): it serves the one that is served worst"
        yield Choice("group_dpo", count, why, (command.train("group_dpo"),))
    why = "preferences: the method that is best understood; its reference is computed once and takes no memory"
    noisy = evidence.contradictory > NOISY * count
    own = ("--label-smoothing", "0.1") if noisy else ()
    if noisy:
        why += "; pairs contradict each other, so labels are smoothed"
    yield Choice("dpo", count, why, (command.train("dpo", *own),))
    why = "the same where dpo drives margins too far: the margin has a target and rests there"
    yield Choice("ipo", count, why, (command.train("ipo"),))
    why = "no fine-tuned model to start from: it imitates and prefers at once, without a reference"
    yield Choice("orpo", count, why, (command.train("orpo"),))
    why = f"{evidence.lists} groups rank more than two responses: the likelihood of whole rankings"
    yield Choice("plackett_luce", evidence.lists, why, (command.train("plackett_luce"),))


def _labels(evidence: Evidence, command: _Command) -> Iterator[Choice]:
    good, bad = evidence.desirable, evidence.undesirable
    why = f"single responses, {good} desirable and {bad} undesirable: no pairs are needed"
    own: tuple[str, ...] = ()
    if good and bad and not 0.75 <= good / bad <= 4 / 3:
        rare, weight = ("undesirable", good / bad) if good > bad else ("desirable", bad / good)
        own = (f"--{rare}-weight", f"{weight:.2g}")
        why += f"; the rarer kind is weighed up to balance them ({rare} responses {weight:.2g} times)"
    yield Choice("kto", evidence.labels, why, (command.train("kto", *own),))
    why = "the same as a classifier: it does not give up on examples that it gets wrong"
    yield Choice("bco", evidence.labels if good and bad else 0, why, (command.train("bco"),))


def _scores(evidence: Evidence, command: _Command) -> Iterator[Choice]:
    why = "rewards and costs: the price of the cost is learnt so that the policy keeps its budget"
    yield Choice("cost_dpo", evidence.costs, why, (command.train("cost_dpo", "--cost-limit", "0"),))
    pairs = command.run("select", "rs-dpo", "--data", *command.data, "--out", "pairs.jsonl")
    why = "several scored responses to a prompt: pairs of those whose scores differ enough (RS-DPO)"
    yield Choice("dpo", evidence.scores, why, (pairs, command.train("dpo", data=["pairs.jsonl"])))
    best = command.run("select", "best-of-n", "--data", *command.data, "--out", "best.jsonl")
    why = "the same without a reference: imitate the best of each prompt's responses"
    yield Choice("sft", evidence.scores, why, (best, command.train("sft", data=["best.jsonl"])))
    why = "one scored response to a prompt: its likelihood, weighted by the score"
    yield Choice("rwr", evidence.single_scores, why, (command.train("rwr"),))
    why = "a probability of each response: the policy's distribution over them is fitted to it"
    yield Choice("soft_listwise", evidence.distributions, why, (command.train("soft_listwise"),))
    why = "steps of responses are scored: a reward model of steps, to select by or to train against"
    yield Choice("process_reward", evidence.steps, why, (command.train("process_reward"),))


def _no_feedback(evidence: Evidence, command: _Command) -> Iterator[Choice]:
    why = "answers without feedback: imitate them; what the model does wrong by itself they cannot show"
    yield Choice("sft", evidence.demonstrations, why, (command.train("sft"),))
    reward = "numeric" if evidence.numeric_answers == evidence.answers else "exact"
    why = f"answers that can be checked: the model's own attempts, scored by the verifier '{reward}' (RLVR)"
    yield Choice("grpo", evidence.answers, why, (command.train("grpo", "--reward", reward),))
    sampled = command.run(
        "sample", "--model", command.model, "--data", *command.data, "--n", "8", "--out", "drawn.jsonl"
    )
    scored = command.run("verify", "--data", "drawn.jsonl", "--reward", "model:DIR", "--out", "scored.jsonl")
    pairs = command.run("select", "rs-dpo", "--data", "scored.jsonl", "--out", "pairs.jsonl")
    why = "prompts alone: sample answers, have a reward model (or a verifier) score them, train on the pairs"
    yield Choice("dpo", evidence.prompts, why, (sampled, scored, pairs, command.train("dpo", data=["pairs.jsonl"])))


_KINDS = (_pairs, _labels, _scores, _no_feedback)


def _cautions(evidence: Evidence) -> Iterator[str]:
    bias = evidence.length_bias
    if bias is not None and bias.low > 0.5:
        yield (
            f"The longer response wins in {bias.longer_wins:.0%} of {bias.pairs} pairs: the policy will learn length. "
            "Balance the pairs by length first; r_dpo, ld_dpo and simpo hold it back only beyond their defaults."
        )
    compared = evidence.preferences or evidence.labels or evidence.scores or evidence.demonstrations
    if 0 < compared < FEW:
        yield f"{compared} groups are few: expect to learn the sample, and hold back more of it (--holdout 0.2)."
    if evidence.contradictory:
        yield f"Contradicting pairs: {evidence.contradictory}; the labels are noisy."
    if evidence.duplicates:
        yield f"Repeated rows: {evidence.duplicates}; each counts as often as it stands there."
    if evidence.labels and not (evidence.desirable and evidence.undesirable):
        yield "All labels say the same: nothing shows what to avoid."
    if evidence.preferences and not evidence.demonstrations:
        yield "Start from a model that is fine-tuned to answer; preferences refine what it can do already."
