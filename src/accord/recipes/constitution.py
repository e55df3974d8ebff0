"""`accord constitution revise`: answers revised by a constitution, as demonstrations, preferences and a full trace.

Answers of models are kept on disk as they come: a job that was killed goes on where it was, and the same command run
again asks nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from rich.console import Console

from accord.chat.cached import CachedChat
from accord.chat.spec import Opening, open_chat
from accord.errors import ConfigError
from accord.evaluate.statistics import mean_estimate, paired_difference
from accord.feedback.constitution.constitution import Constitution
from accord.feedback.constitution.critics import Critic
from accord.feedback.constitution.data import Imitate, demonstrations, preferences, satisfied
from accord.feedback.constitution.forms import AnyForm, load_form
from accord.feedback.constitution.judge import ConstitutionJudge
from accord.feedback.constitution.revise import revise
from accord.feedback.constitution.trace import Revised, Rules, Trace
from accord.feedback.judge.pair import PairJudge
from accord.feedback.judge.spec import PLAIN, chat_judge, parse_judge, short_name
from accord.feedback.judge.templates import PairTemplate, load_template
from accord.recipes.asking import Cost, asking
from accord.recipes.judge import pairwise
from accord.record import Estimate, Group, write_groups

CRITICS = "critics"
"""The judge's name where the critics' scores decide which answer is better."""


class Kept(msgspec.Struct, frozen=True):
    """The share of answers that keep a principle, by the critics.

    Attributes:
        before: of the first answers.
        after: of what was kept.
        difference: after less before, of the same answers.
    """

    before: Estimate
    after: Estimate
    difference: Estimate


class Summary(msgspec.Struct, frozen=True):
    """What revising came to, counted.

    Attributes:
        constitution: its name and fingerprint.
        answers: that were revised.
        changed: of which another than the first is kept.
        outcomes: of all rounds.
        ends: why answers were left alone.
        unread: scores of critics that could not be read, of how many.
        review: answers on which critics disagree.
        principles: how far each is kept.
        rules: by which it was done.
    """

    constitution: tuple[str, str]
    answers: int
    changed: int
    outcomes: dict[str, int]
    ends: dict[str, int]
    unread: tuple[int, int]
    review: int
    principles: dict[str, Kept]
    rules: Rules


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
    def tokens(self) -> tuple[int, int]:
        """Read and written by all of them."""
        read, written = (sum(chat.tokens[side] for chat in self.chats.values()) for side in (0, 1))
        return read, written

    @property
    def requests(self) -> tuple[int, int]:
        """Asked, and answered from memory."""
        chats = self.chats.values()
        return sum(chat.asked for chat in chats), sum(chat.known for chat in chats)

    def cost(self, price_in: float | None, price_out: float | None) -> float | None:
        """What their answers have cost so far, from prices for a million tokens; `None` without prices."""
        if price_in is None and price_out is None:
            return None
        read, written = self.tokens
        return (read * (price_in or 0.0) + written * (price_out or 0.0)) / 1e6


def require_principles(judge: str, template: str) -> None:
    """Raise a `ConfigError` unless the judge goes by principles: critics, or a model whose template has their place."""
    if judge == CRITICS:
        return
    asked = None if judge.partition(":")[0] in ("control", "reward") else load_template(template)
    if not isinstance(asked, PairTemplate) or not asked.takes_principles:
        where = f"--judge {judge}" if asked is None else f"--template {template}"
        mend = "Take a template with {principle} in its prompt, or --judge critics."
        raise ConfigError("says the same under every constitution", where=where, mend=mend)


def revise_groups(
    groups: Sequence[Group],
    panel: Panel,
    *,
    cast: Cast,
    answerer: str | None = None,
    cost: Cost = lambda: None,
    console: Console | None = None,
) -> Revised:
    """Revise with models by the words of a command line, their answers kept on disk.

    Args:
        groups: the prompts; without an answerer, each of their responses is revised.
        panel: who revises, by what.
        cast: the models that take part.
        answerer: who gives the first answers.
        cost: what the models' answers have cost so far.
        console: where progress is shown.

    Raises:
        AccordError: a setting, the data or a model is wrong.
    """
    critics = cast.critics(panel.critics, panel.weights)
    reviser = panel.reviser or panel.critics[0]
    accept = None if panel.accept is None else cast.judge(panel.accept, panel.constitution, template=panel.template)
    answers = None if answerer is None else cast.chat(answerer, "--answerer")
    with asking(console, cost) as told:
        return revise(
            groups,
            constitution=panel.constitution,
            critics=critics,
            reviser=cast.chat(reviser, "--reviser"),
            answerer=answers,
            judge=accept,
            form=panel.form,
            rules=panel.rules,
            told=told,
        )


def summary_of(revised: Revised, constitution: Constitution) -> Summary:
    """Revisions, counted, with intervals clustered by prompt."""
    verdicts = [
        verdict
        for trace in revised.traces
        for verdict in (trace.verdict, *(step.verdict for step in trace.steps))
        if verdict is not None
    ]
    scores = sum(len(row) for verdict in verdicts for row in verdict.by_critic.values())
    ends = [trace.end for trace in revised.traces]
    return Summary(
        (constitution.name, constitution.fingerprint),
        len(revised.traces),
        sum(trace.kept > 0 for trace in revised.traces),
        {str(outcome): count for outcome, count in revised.outcomes().items()},
        {end: ends.count(end) for end in dict.fromkeys(ends)},
        (sum(verdict.unread for verdict in verdicts), scores),
        len(revised.review),
        principles_kept(revised),
        revised.rules,
    )


def principles_kept(revised: Revised) -> dict[str, Kept]:
    """By principle, the share of answers that keep it before and after revision."""
    kept = {}
    for name, rows in satisfied(revised).items():
        before, after = [row.before for row in rows], [row.after for row in rows]
        clusters = [row.prompt for row in rows]
        kept[name] = Kept(
            mean_estimate(before, clusters), mean_estimate(after, clusters), paired_difference(before, after, clusters)
        )
    return kept


def write_revised(
    out: str | Path, revised: Revised, constitution: Constitution, *, imitate: Imitate = "kept"
) -> list[tuple[Path, str]]:
    """Write demonstrations, preferences, the trace, what a person should look at, and the summary.

    Returns each file with what it is. Where nothing was compared there are no preferences, and no file of them.
    """
    path = Path(out)
    path.mkdir(parents=True, exist_ok=True)
    taught, pairs = demonstrations(revised, imitate=imitate), preferences(revised)
    files = []
    for name, groups in (("demonstrations", taught), ("preferences", pairs)):
        file = path / f"{name}.jsonl"
        file.unlink(missing_ok=True)
        if groups:
            files.append((file, f"{write_groups(file, groups):,} {_WRITTEN[name]}"))
    for name, traces in (("trace", revised.traces), ("review", revised.review)):
        _write_traces(path / f"{name}.jsonl", traces)
        files.append((path / f"{name}.jsonl", f"{len(traces):,} answers {_TRACED[name]}"))
    file = path / "summary.json"
    file.write_bytes(msgspec.json.format(msgspec.json.encode(summary_of(revised, constitution))) + b"\n")
    return [*files, (file, "summary")]


_WRITTEN = {"demonstrations": "demonstrations", "preferences": "prompts with preferences"}
_TRACED = {"trace": "with all that was said", "review": "for a person to look at"}


def _write_traces(path: Path, traces: Sequence[Trace]) -> None:
    beside = path.with_name(f"{path.name}.partial")
    beside.write_bytes(b"".join(msgspec.json.encode(trace) + b"\n" for trace in traces))
    beside.replace(path)
