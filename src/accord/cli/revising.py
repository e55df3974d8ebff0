"""Flags of the commands that revise answers by a constitution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from accord.cli.parameters import Several, Switch
from accord.errors import ConfigError

if TYPE_CHECKING:
    from accord.feedback.constitution import Constitution
    from accord.recipes.constitution_cast import Panel

Numbers = Annotated[tuple[float, ...], Parameter(consume_multiple=(1, None), negative="", show_default=False)]
"""A flag that takes one or more numbers."""


@Parameter(name="*")
@dataclass(frozen=True)
class Critics:
    """Who criticises, and how they are heard.

    Attributes:
        critic: who criticises and scores; one or several: a model's directory or hub id, http://host/v1#model, or
            module:function.
        critic_weights: a weight for each critic, for --aggregate weighted.
        aggregate: of several critics' scores: their mean, the weighted mean, or the least.
        form: how critics and reviser are asked: plain, turns, tidewater, or a file; default the constitution's.
        template: how a judge is asked: plain, reasoned, written, score, tidewater, or a file of your own.
    """

    critic: Several = ()
    critic_weights: Numbers = ()
    aggregate: Literal["mean", "weighted", "veto"] = "mean"
    form: str | None = None
    template: str = "plain"

    def panel(self, constitution: Constitution, **given: Any) -> Panel:
        """The critics as part of a panel.

        Raises:
            ConfigError: there is no such form.
        """
        from accord.feedback.constitution import load_form
        from accord.recipes.constitution_cast import Panel

        form = None if self.form is None else load_form(self.form)
        return Panel(constitution, self.critic, weights=self.critic_weights, template=self.template, form=form, **given)


@Parameter(name="*")
@dataclass(frozen=True)
class Revising:
    """The rules of revision.

    Attributes:
        constitution: default, tidewater, a TOML file of your own, or a JSON file of critique and revision requests.
        reviser: who rewrites; default the first critic.
        rounds: of critique and revision at most.
        choose: the principle of a round: drawn by weight, the one that is broken most, or all at once.
        keep: of an answer and its revisions, what the critics score best or what was taken last.
        clean: leave an answer alone whose score reaches this by every principle.
        always: revise on, however clean an answer is.
        tolerance: smallest gain in score that counts; without it no answer is left alone for want of gain.
        patience: rounds in a row without such a gain after which an answer is left alone.
        disagreement: difference between two critics by one principle from which a person should look.
        imitate: every kept answer as a demonstration, or only those that keep every principle by the critics.
        temperature: of answers.
        critique_temperature: of critiques.
        revision_temperature: of revisions.
        max_tokens: longest answer, critique or revision.
        seed: of the draws of principles and of the sampling.
    """

    constitution: str = "default"
    reviser: str | None = None
    rounds: int = 4
    choose: Literal["sampled", "worst", "whole"] = "sampled"
    keep: Literal["best", "last"] = "best"
    clean: float = 0.5
    always: Switch = False
    tolerance: float | None = None
    patience: int = 1
    disagreement: float = 0.5
    imitate: Literal["kept", "clean"] = "kept"
    temperature: float = 0.7
    critique_temperature: float = 0.3
    revision_temperature: float = 0.3
    max_tokens: int = 512
    seed: int = 0

    def panel(self, critics: Critics, *, accept: str | None) -> Panel:
        """The whole panel: the constitution, who goes by it, and the rules.

        Raises:
            ConfigError: a flag is out of range, two contradict each other, or a file cannot be used.
        """
        from accord.feedback.constitution import Rules, load_constitution

        if self.always and self.clean != 0.5:
            raise ConfigError("cannot be combined with --always", where="--clean", mend="Leave one of them out.")
        rules = Rules(
            rounds=self.rounds,
            choose=self.choose,
            keep=self.keep,
            aggregate=critics.aggregate,
            clean=None if self.always else self.clean,
            tolerance=self.tolerance,
            patience=self.patience,
            disagreement=self.disagreement,
            answer_temperature=self.temperature,
            critique_temperature=self.critique_temperature,
            revision_temperature=self.revision_temperature,
            max_tokens=self.max_tokens,
            seed=self.seed,
        )
        constitution = load_constitution(self.constitution)
        return critics.panel(constitution, reviser=self.reviser, accept=accept, rules=rules)
