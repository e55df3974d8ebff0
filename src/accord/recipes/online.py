"""Online training: the policy answers, rewards score, the policy learns. Here the ring of the rooms closes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from rich.console import Console

from accord.errors import ConfigError
from accord.feedback.reward import Part, Reward
from accord.feedback.score import Observer, RewardStatistics, parts_of
from accord.objectives import resolve, signature_of
from accord.objectives.policy_gradient import METHODS
from accord.policy.policy import Policy
from accord.policy.sample import Sampling
from accord.recipes.alarms import RewardGuard
from accord.recipes.align import align
from accord.recipes.answers import Answer, scored_for_all, share_of_ranks
from accord.recipes.episodic import EpisodeReturn, Episodes, named_environment
from accord.recipes.guided import GuidedActor, require_guidable
from accord.recipes.opposed import OpposedActor
from accord.recipes.refusal import permitted
from accord.recipes.served import ServedActor, served
from accord.record import Feedback, Group
from accord.rollout import rollout
from accord.train.actor import Actor, PromptOrder, Round
from accord.train.config import TrainConfig
from accord.train.directory import RunDirectory
from accord.train.prepare_rounds import with_rollout
from accord.train.run import Probe, RunResult

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RewardedActor:
    """Has the policy answer and rewards score the answers.

    Attributes:
        rewards: what scores.
        config: how to sample.
        greedy: whether the greedy answer's score is wanted as the baseline.
        answer: who answers; by itself the policy does, in this process.
    """

    rewards: Sequence[Reward | Part]
    config: TrainConfig
    greedy: bool = False
    answer: Answer = field(default=rollout)

    def collect(self, policy: Policy, prompts: PromptOrder, number: int) -> Round:
        """The scored Groups of a round; prompts whose answers all score alike are replaced if the settings say so."""
        found: list[Group] = []
        notes: dict[str, float] = {}
        drawn = prompts.of_round(number)
        refill = self.config.refill or 0
        for attempt in range(refill + 1):
            scored = self._scored(policy, drawn, number, attempt, notes)
            found += [group for group in scored if tells_apart(group)] if refill else scored
            if len(found) >= prompts.a_round:
                break
            drawn = prompts.further(number, attempt, prompts.a_round - len(found))
        return Round(found[: prompts.a_round], notes | _of_answers(found))

    def examine(self, policy: Policy, prompts: Sequence[Group]) -> list[Group]:
        """One scored answer to each held-out prompt, at the temperature of training."""
        answered = self._answered(
            policy, prompts, n=1, temperature=self.config.sample_temperature, seed=self.config.seed
        )
        return scored_for_all(answered, self.rewards, missing="record") if answered else []

    def _scored(
        self, policy: Policy, prompts: Sequence[Group], number: int, attempt: int, notes: dict[str, float]
    ) -> list[Group]:
        parts, temperature = parts_of(self.rewards), self.config.sample_temperature

        def draw(asked: Sequence[Group], n: int, seed: int, observe: Observer | None = None) -> list[Group]:
            answered = self._answered(policy, asked, n=n, temperature=temperature, seed=seed)
            return scored_for_all(answered, parts, missing=self.config.missing_reward, observe=observe)

        seed = self._seed(number, attempt)
        scored = draw(prompts, self.config.n or 1, seed, _note_into(notes))
        if any(part.role == "reject" for part in parts):
            scored = permitted(
                scored,
                parts,
                lambda asked, again: draw(asked, 1, self._seed(number, attempt, again + 1)),
                attempts=self.config.resample,
                notes=notes,
            )
        if not self.greedy:
            return scored
        best_guess = self._answered(policy, prompts, n=1, temperature=0.0, seed=seed)
        baselines = scored_for_all(best_guess, self.rewards, missing=self.config.missing_reward)
        return [_with_baseline(group, baseline) for group, baseline in zip(scored, baselines, strict=True)]

    def _seed(self, *place: int) -> int:
        return int(np.random.SeedSequence([self.config.seed, 17, *place]).generate_state(1)[0])

    def _answered(
        self, policy: Policy, prompts: Sequence[Group], *, n: int, temperature: float, seed: int
    ) -> list[Group]:
        sampling = Sampling(temperature=temperature, max_tokens=self.config.max_tokens, seed=seed)
        return share_of_ranks(policy, prompts, n=n, sampling=sampling, answer=self.answer)


def train_online(
    config: TrainConfig,
    rewards: Sequence[Reward | Part],
    *,
    groups: Sequence[Group] | None = None,
    eval_groups: Sequence[Group] | None = None,
    probe: Probe | None = None,
    console: Console | None = None,
    fresh: bool = False,
) -> RunResult:
    """Train on the policy's own answers: rounds of sampling, scoring and updates.

    Args:
        config: the settings. The objective is a policy-gradient method, or one that learns from preferences, labels or
            scores, which are then made of the rewards' scores.
        rewards: what scores the answers, beside the environment if the settings name one.
        groups: prompts, instead of reading `config.data`.
        eval_groups: held-out prompts.
        probe: an evaluation to run at every measurement.
        console: where progress is shown.
        fresh: delete what an earlier run wrote in `config.out` and start again.

    Raises:
        AccordError: a setting, the data, a model or a reward is wrong.
    """
    config = with_rollout(config)
    actor = _accompanied(rewarded(rewards, config))
    return align(
        config,
        groups=groups,
        eval_groups=eval_groups,
        actor=actor,
        guard=RewardGuard(config.out),
        probe=probe,
        console=console,
        fresh=fresh,
    )


def rewarded(rewards: Sequence[Reward | Part], config: TrainConfig) -> RewardedActor:
    """The actor that these rewards and settings ask for, in this process.

    Raises:
        ConfigError: there is no reward, or no such environment.
    """
    answer: Answer = rollout
    if config.environment is not None:
        answer = Episodes(named_environment(config.environment), config.max_turns)
        rewards = [EpisodeReturn(), *rewards]
    if not rewards:
        raise ConfigError(
            f"{config.objective} learns from scores of its own answers, and nothing scores them",
            where="--reward",
            mend="Name a reward, e.g. --reward numeric; accord verify --list shows them.",
        )
    method = METHODS.get(config.objective)
    greedy = method is not None and "baseline" in method.credit(config.hyper).needs
    return RewardedActor(rewards, config, greedy, answer)


def _accompanied(actor: RewardedActor) -> Actor:
    """The actor with the other policies, or the server, that the settings give it."""
    config = actor.config
    alone = config.guide is None and "own_sample" not in signature_of(resolve(config.objective)).needs
    for flag, given in (("--rollouts", config.rollouts), ("--environment", config.environment)):
        if given is not None and not alone:
            raise ConfigError("other policies take part in the sampling", where=flag, mend="Leave it out.")
    if config.rollouts is not None:
        if config.environment is not None:
            mend = "Leave it out: episodes are sampled in this process."
            raise ConfigError("cannot be combined with --environment", where="--rollouts", mend=mend)
        answers = served(config.rollouts, RunDirectory(config.out).served)
        return ServedActor(dataclasses.replace(actor, answer=answers), answers)
    if config.guide is not None:
        require_guidable(config)
        return GuidedActor(actor, config)
    if "own_sample" in signature_of(resolve(config.objective)).needs:
        return OpposedActor(actor.rewards, config)
    return actor


def tells_apart(group: Group) -> bool:
    """Whether the answers to a prompt have at least two scores that are not all the same."""
    given = {value for value in group.scores() or () if value is not None}
    return len(given) > 1


def _with_baseline(group: Group, greedy: Group) -> Group:
    """The Group with the greedy answer's score as that of every response under the name `baseline`."""
    value = (greedy.scores() or (None,))[0]
    baseline = Feedback("verifier", "greedy answer", scores={"baseline": (value,) * len(group.responses)})
    return replace(group, feedback=(*group.feedback, baseline))


def _note_into(notes: dict[str, float]) -> Callable[[RewardStatistics], None]:
    """Puts each reward's mean and share of missing scores among the notes of a round."""

    def note(statistics: RewardStatistics) -> None:
        if statistics.mean is not None:
            notes[f"reward/{statistics.name}"] = statistics.mean
        if statistics.missing:
            notes[f"reward/{statistics.name}/missing"] = statistics.missing

    return note


def _of_answers(groups: Sequence[Group]) -> dict[str, float]:
    """Length and ends of a round's answers, and how far scores follow length among the answers to a prompt."""
    responses = [response for group in groups for response in group.responses]
    if not responses:
        return {}
    notes = {
        "round/finished": sum(response.finished for response in responses) / len(responses),
        "round/length": sum(len(response.tokens or ()) for response in responses) / len(responses),
    }
    lengths, scores = _about_their_means(groups)
    spread = float(np.sqrt((lengths**2).sum() * (scores**2).sum()))
    return notes | ({"round/length_correlation": float((lengths * scores).sum()) / spread} if spread else {})


def _about_their_means(groups: Sequence[Group]) -> tuple[Floats, Floats]:
    """Length and score of every scored answer, each less its mean over the answers to the same prompt."""
    lengths, scores = [np.zeros(0)], [np.zeros(0)]
    for group in groups:
        given = group.scores() or ()
        pairs = [
            (len(one.tokens or ()), score)
            for one, score in zip(group.responses, given, strict=False)
            if score is not None
        ]
        if pairs:
            of_group = np.array(pairs, dtype=np.float64)
            lengths.append(of_group[:, 0] - of_group[:, 0].mean())
            scores.append(of_group[:, 1] - of_group[:, 1].mean())
    return np.concatenate(lengths), np.concatenate(scores)
