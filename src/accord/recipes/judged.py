"""Online training on a judge's verdicts: the policy answers, a judge compares the answers, the policy learns.

The judge may be another model, a reward, or the policy itself as it is in that round (self-rewarding: Yuan et al. 2024,
arXiv:2401.10020, whose judge scores answers one by one as the template `score` does).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from msgspec.structs import replace
from rich.console import Console

from accord.chat.in_process import PolicyChat
from accord.errors import ConfigError
from accord.feedback.judge.groups import by_group, judged_groups, pairs_in
from accord.feedback.judge.pair import Judgement
from accord.feedback.judge.principles import read_principles
from accord.feedback.judge.spec import Judge, chat_judge, parse_judge
from accord.policy.policy import Policy
from accord.policy.sharding import whole_weights
from accord.recipes.align import align
from accord.recipes.answers import sampling_of, share_of_ranks
from accord.recipes.judge import compared
from accord.record import Feedback, Group
from accord.train import distributed
from accord.train.actor import PromptOrder, Round
from accord.train.config import TrainConfig
from accord.train.models import load_frozen
from accord.train.prepare_rounds import with_rollout
from accord.train.run import Probe, RunResult

SELF = "self"
"""The judge's name when the policy judges its own answers."""


@dataclass
class JudgedActor:
    """Samples from the policy in this process and has its answers to each prompt compared.

    Attributes:
        config: the settings, with rollout settings in place.
        given: the judge; `None` where the policy judges itself.
    """

    config: TrainConfig
    given: Judge | None

    @cached_property
    def start(self) -> Policy:
        """The model that training starts from, whose answers are the measure."""
        return load_frozen(self.config, self.config.model)

    def collect(self, policy: Policy, prompts: PromptOrder, number: int) -> Round:
        """The round's prompts with the policy's answers, each pair of them compared."""
        drawn, n = prompts.of_round(number), self.config.n or 1
        answered = share_of_ranks(policy, drawn, n=n, sampling=sampling_of(self.config, number))
        judged, said = self._compared(policy, answered)
        return Round(judged, _notes(said))

    def examine(self, policy: Policy, prompts: Sequence[Group]) -> list[Group]:
        """One answer to each held-out prompt, scored by its probability of beating the starting model's.

        Where the policy judges itself, the starting model is the judge: the measure must not move with the measured.
        """
        if not prompts:
            return []
        sampling = replace(sampling_of(self.config), seed=self.config.seed)
        own = share_of_ranks(policy, prompts, n=1, sampling=sampling)
        before = share_of_ranks(self.start, prompts, n=1, sampling=sampling)
        both = [
            replace(mine, responses=(*mine.responses, *theirs.responses))
            for mine, theirs in zip(own, before, strict=True)
        ]
        _, said = self._compared(self.start, both)
        return [
            replace(mine, feedback=(Feedback("judge", self._name, scores={"overall": (one.p,)}),))
            for mine, one in zip(own, said, strict=True)
        ]

    @property
    def _name(self) -> str:
        return SELF if self.given is None else self.given.name

    def _judge(self, policy: Policy) -> Judge:
        if self.given is not None:
            return self.given
        return _own_judge(PolicyChat(policy), self.config)

    def _compared(self, policy: Policy, groups: Sequence[Group]) -> tuple[list[Group], list[Judgement]]:
        """The Groups with the Feedback of the judge, or of a policy as its own, and the judgements.

        Ranks share the work, and all get everything.
        """
        judge = self._judge(policy)
        own = distributed.share(list(groups))
        pairs = pairs_in(own)
        with whole_weights(policy.model) if self.given is None else nullcontext():
            said, _ = compared(judge, own, pairs)
        judged = judged_groups(own, pairs, said, name=self._name)
        gathered = distributed.gather(
            [
                (group, [said[place] for place in places])
                for group, places in zip(judged, by_group(own, pairs), strict=True)
            ]
        )
        # Ranks took every world_size-th Group; back into one order.
        ordered = [gathered[place % len(gathered)][place // len(gathered)] for place in range(len(groups))]
        return [group for group, _ in ordered], [one for _, judgements in ordered for one in judgements]


def train_judged(
    config: TrainConfig,
    *,
    groups: Sequence[Group] | None = None,
    eval_groups: Sequence[Group] | None = None,
    probe: Probe | None = None,
    console: Console | None = None,
    fresh: bool = False,
) -> RunResult:
    """Train on a judge's comparisons of the policy's own answers, in rounds.

    Preferences are soft: their weights are the judge's probabilities. Methods that learn from scores take the mean
    probability with which an answer beats the others of its prompt. Arguments and errors are those of `train_online`.
    """
    config = with_rollout(config)
    if (config.n or 1) < 2:
        raise ConfigError("one answer has none to be compared with", where="--n", mend="Give 2 or more.")
    return align(
        config,
        groups=groups,
        eval_groups=eval_groups,
        actor=JudgedActor(config, _given(config)),
        probe=probe,
        console=console,
        fresh=fresh,
    )


def _given(config: TrainConfig) -> Judge | None:
    assert config.judge is not None
    if config.judge == SELF:
        return None
    principles = () if config.principles is None else read_principles(config.principles)
    judge, _ = parse_judge(config.judge, template=config.judge_template, principles=principles)
    return judge


def _own_judge(chat: PolicyChat, config: TrainConfig) -> Judge:
    principles = () if config.principles is None else read_principles(config.principles)
    return chat_judge(chat, template=config.judge_template, principles=principles, name=SELF)


def _notes(said: Sequence[Judgement]) -> dict[str, float]:
    """How the judge behaved in a round."""
    read = [one for one in said if one.p is not None and one.orders is not None]
    notes = {"judge/unjudged": 1 - len(read) / len(said)} if said else {}
    if read:
        notes["judge/consistency"] = fmean(float(one.consistent or False) for one in read)
        notes["judge/first_shown"] = fmean(sum(one.orders or ()) / 2 for one in read)
        notes["judge/confidence"] = fmean(max(one.p or 0.0, 1 - (one.p or 0.0)) for one in read)
    return notes
