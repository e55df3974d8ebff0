"""The page of the study of AI feedback."""

from __future__ import annotations

from typing import TYPE_CHECKING

from accord.recipes.judge_audit import concerns
from accord.recipes.judge_table import interval, rows_of
from accord.record import Estimate

if TYPE_CHECKING:
    from accord.recipes.feedback_study import FeedbackStudy, Learned

_HEAD = """# AI feedback on the embedded world

The base model that ships with Accord has read comparisons of replies, so it can judge. A model that is fine-tuned from
it answers {prompts} new prompts twice; the base says which answer is better, in both orders, by the probabilities of
"A is better." and "B is better."; the oracle knows. From the same start and the same pairs, DPO learns from each kind
of label. {seeds} seeds, {held_out} held-out prompts, answered at temperature 0.7 and scored by the oracle; intervals
are 95%, clustered by prompt. `accord world feedback` writes this page in a minute or two of one core.

Your own judge, on your own data:

```console
$ accord judge --judge http://localhost:8000/v1#MODEL --data pairs.jsonl --out judged.jsonl --audit
$ accord train dpo --model M --data judged.jsonl
$ accord train dpo --model M --data prompts.jsonl --judge http://localhost:8000/v1#MODEL
```
"""


def render(study: FeedbackStudy) -> str:
    """The page as Markdown."""
    head = _HEAD.format(prompts=study.scale.prompts, seeds=study.seeds, held_out=study.scale.held_out)
    return "\n".join([head, *_audit(study), *_table(study), *_verdicts(study)])


def _audit(study: FeedbackStudy) -> list[str]:
    found = study.audit
    lines = ["## The judge, audited", "", "| | the base as judge | without fault |", "|---|---|---|"]
    lines += [f"| {name} | {value} | {ideal} |" for name, value, ideal in rows_of(found)]
    lines += ["", "| control | agreement with gold | the judge's lead |", "|---|---|---|"]
    lines += [f"| {name} | {interval(one.accuracy)} | {interval(one.lead)} |" for name, one in found.controls.items()]
    said = concerns(found) or ["nothing"]
    fitted = ", ".join(f"{temperature:.2f}" for temperature in study.temperatures)
    calibrated = f"Temperatures fitted to gold labels of {study.scale.labelled} other prompts, one a seed: {fitted}."
    return [*lines, "", "What the audit says against it: " + "; ".join(said) + ".", "", calibrated, ""]


def _table(study: FeedbackStudy) -> list[str]:
    axes = list(study.learned[0].axes)
    lines = ["## What is learned from its labels", ""]
    lines += [f"| labels | pairs | {' | '.join(axes)} | gold, over the start | gold, less gold labels |"]
    lines += ["|---|---:|" + "---:|" * len(axes) + "---|---|"]
    for one in study.learned:
        means = " | ".join(f"{one.axes[axis].mean:.2f}" for axis in axes)
        lines.append(f"| {one.labels} | {one.pairs or '–'} | {means} | {interval(one.gain)} | {interval(one.behind)} |")
    return [*lines, ""]


def _verdicts(study: FeedbackStudy) -> list[str]:
    lines = ["## What held and what did not", ""]
    for one in study.learned:
        compared = {
            "gold over the start": one.gain,
            "gold against gold labels": one.behind,
            "gold against the judge's winners alone": one.over_hard,
        }
        lines += [f"- {_subject(one)} {_change(found, what)}." for what, found in compared.items() if found is not None]
    return [*lines, ""]


def _subject(one: Learned) -> str:
    return "Gold labels" if one.labels == "gold" else f"The judge's labels ({one.labels})"


def _change(difference: Estimate, what: str) -> str:
    if difference.low > 0:
        return f"raise {what}: {interval(difference)}"
    if difference.high < 0:
        return f"lower {what}: {interval(difference)}"
    return f"make no difference that can be told in {what}: {interval(difference)}"
