"""Who takes part in constitutional AI, by the words of a command line, and the models behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from accord.chat.cached import CachedChat
from accord.chat.spec import Opening, open_chat
from accord.chat.usage import Usage
from accord.errors import ConfigError
from accord.feedback.constitution.constitution import Constitution
from accord.feedback.constitution.critics import Critic
from accord.feedback.constitution.forms import AnyForm, load_form
from accord.feedback.constitution.judge import ConstitutionJudge
from accord.feedback.constitution.trace import Rules
from accord.feedback.judge.pair import PairJudge
from accord.feedback.judge.spec import PLAIN, chat_judge, parse_judge, short_name
from accord.feedback.judge.templates import PairTemplate, load_template
from accord.recipes.judge import pairwise

CRITICS = "critics"
"""The judge's name where the critics' scores decide which answer is better."""


@dataclass(frozen=True)
class Panel:
    """Who revises answers and by what, in the words of a command line.

    Attributes:
        constitution: the principles.
        critics: who criticise and score.
        reviser: who rewrites; the first critic if `None`.
        accept: who must prefer a revision in both orders; nobody if `None`.
        weights: the critics', for the weighted mean; equal if empty.
        template: how judges are asked.
        form: how critics and reviser are asked; the constitution's if `None`.
        rules: of revision.
    """

    constitution: Constitution
    critics: Sequence[str]
    reviser: str | None = None
    accept: str | None = None
    weights: Sequence[float] = ()
    template: str = PLAIN
    form: AnyForm | None = None
    rules: Rules = field(default_factory=Rules)


@dataclass
class Cast:
    """The models that take part, each opened once however many parts it has.

    Attributes:
        opening: how models are loaded or reached.
        cache: the SQLite file of their answers; default in Accord's cache directory.
        chats: by what the command line calls them.
    """

    opening: Opening | None = None
    cache: Path | None = None
    chats: dict[str, CachedChat] = field(default_factory=dict)

    def chat(self, spec: str, flag: str) -> CachedChat:
        """The model that a flag names."""
        if spec not in self.chats:
            self.chats[spec] = CachedChat(open_chat(spec, self.opening, flag=flag), self.cache)
        return self.chats[spec]

    def critics(self, specs: Sequence[str], weights: Sequence[float] = ()) -> list[Critic]:
        """The critics that `--critic` names, with the weights of `--critic-weights`.

        Raises:
            ConfigError: there are no critics, or another number of weights.
        """
        if not specs or (weights and len(weights) != len(specs)):
            flag = "--critic-weights" if specs else "--critic"
            mend = "Give one for each critic." if specs else "Name a model, a server or a script."
            raise ConfigError(
                "required, and not given" if not specs else "do not fit the critics", where=flag, mend=mend
            )
        short = [short_name(spec) for spec in specs]
        names = [name if short.count(name) == 1 else spec for name, spec in zip(short, specs, strict=True)]
        return [
            Critic(self.chat(spec, "--critic"), name, weight)
            for spec, name, weight in zip(specs, names, weights or [1.0] * len(specs), strict=True)
        ]

    def judge(self, spec: str, constitution: Constitution, *, template: str = PLAIN) -> PairJudge:
        """The judge that `--judge` names; a model goes by the constitution where its template takes principles."""
        if spec.partition(":")[0] in ("control", "reward"):
            return pairwise(parse_judge(spec, template=template)[0])
        asked = load_template(template)
        takes = isinstance(asked, PairTemplate) and asked.takes_principles
        return pairwise(
            chat_judge(
                self.chat(spec, "--judge"),
                template=template,
                principles=constitution.principles if takes else (),
                name=short_name(spec),
            )
        )

    def comparing(self, spec: str, panel: Panel) -> PairJudge:
        """Who compares answers by a panel's constitution: a judge, or with `CRITICS` its critics by their scores."""
        constitution = panel.constitution
        if spec != CRITICS:
            return self.judge(spec, constitution, template=panel.template)
        form = panel.form or load_form(constitution.form)
        critics = self.critics(panel.critics, panel.weights)
        return ConstitutionJudge(constitution, critics, form, aggregate=panel.rules.aggregate)

    @property
    def usage(self) -> Usage:
        """What all of them were asked."""
        return sum((chat.usage for chat in self.chats.values()), Usage())


def require_principles(judge: str, template: str) -> None:
    """Raise a `ConfigError` unless the judge goes by principles: critics, or a model whose template has their place."""
    if judge == CRITICS:
        return
    asked = None if judge.partition(":")[0] in ("control", "reward") else load_template(template)
    if not isinstance(asked, PairTemplate) or not asked.takes_principles:
        where = f"--judge {judge}" if asked is None else f"--template {template}"
        mend = "Take a template with {principle} in its prompt, or --judge critics."
        raise ConfigError("says the same under every constitution", where=where, mend=mend)
