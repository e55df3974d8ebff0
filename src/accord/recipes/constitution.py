"""`accord constitution revise`: answers revised by a constitution, as demonstrations, preferences and a full trace.

Answers of models are kept on disk as they come: a job that was killed goes on where it was, and the same command run
again asks nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console

from accord.evaluate.statistics import mean_estimate, paired_difference
from accord.feedback.constitution.constitution import Constitution
from accord.feedback.constitution.data import Imitate, demonstrations, preferences, satisfied
from accord.feedback.constitution.revise import revise
from accord.feedback.constitution.trace import Revised, Rules, Trace
from accord.recipes.asking import Cost, asking
from accord.recipes.constitution_cast import Cast, Panel
from accord.record import Estimate, Group, write_groups


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
