"""The Markdown page of a comparison of objectives."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from accord.recipes.comparison_entries import (
    CONDITIONS,
    FLIPPED,
    LENGTH_BIAS,
    LENGTH_CONTROLLED,
    ROBUST,
    ConditionName,
)
from accord.recipes.comparison_table import BESIDE, Result, Row, Table
from accord.record import Estimate

TITLES: dict[ConditionName, str] = {
    "plain": "plain",
    "flipped": f"{FLIPPED:.0%} flipped",
    "length": "length is paid for",
}
"""The annotators as heads of columns."""


def render(table: Table) -> str:
    """The page."""
    policies = [row for row in table.rows if _has(row, "gold")]
    rewards = [row for row in table.rows if _has(row, "accuracy")]
    failed = [row for row in table.rows if row.failure is not None]
    parts = [_introduction(table)]
    if policies:
        parts += ["## Policies", _gold(table, policies), _verdicts(policies), _reasons(policies)]
        parts += ["## What it cost, and what else changed", _details(table, policies)]
    parts += _claims("flipped", "## Under flipped preferences", _flipped_text(), policies, ROBUST)
    parts += _claims("length", "## Where length is paid for", _length_text(table), policies, LENGTH_CONTROLLED)
    if rewards:
        parts += ["## Reward models", _rewards(rewards)]
    parts += ["## Left out", "\n".join(f"- `{name}` {reason}" for name, reason in table.left_out.items())]
    if failed:
        parts += ["## Failures", "\n".join(f"- `{row.entry}`, {row.failure}" for row in failed)]
    parts += ["## Recipe", _recipe(table), _learning_rates(table.rows)]
    return "\n\n".join(part for part in parts if part) + "\n"


def difference(estimate: Estimate) -> str:
    """A difference with its interval."""
    return f"{_signed(estimate.mean)} ({_signed(estimate.low)} to {_signed(estimate.high)})"


def markdown_table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table; columns that hold nothing but numbers are set flush right."""
    rows = [list(line) for line in lines]
    flush = [all(_is_number(row[column]) for row in rows) for column in range(len(head))]
    rule = ["---:" if right else "---" for right in flush]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def _has(row: Row, axis: str) -> bool:
    return any(axis in result.comparisons for result in row.results.values())


def _introduction(table: Table) -> str:
    return f"""# What each objective does on the embedded world

```bash
{_commands(table)}
```

Every objective starts from one fine-tuned model and learns from the same preferences, at its default hyperparameters
but for the rows with a flag; start and preferences are drawn anew for each seed. There are three annotators: *plain*
prefers what the oracle scores higher; *flipped* does too, but records {FLIPPED:.0%} of the preferences the wrong way
round; *length* adds {LENGTH_BIAS:g} for every ten words to a gold that goes from 0 to 1. Each model then answers
{table.budget["held_out"]} held-out prompts at temperature 0.7, and the exact oracle judges the answers, whoever
annotated. The JSON file beside this page has the figures in full, the directory of its name those of every training: a
command goes on where it was stopped, and `accord world compare NAME` adds to the table.

A model of 0.4 million parameters in a town of twenty people says which objectives learn and how they fail, not which
is best for yours. Neither hyperparameters nor learning rates were tuned for each objective, so the order of the table
is that of these defaults at this recipe."""


def _commands(table: Table) -> str:
    seeds = {condition: _seeds(table.rows, condition) for condition in CONDITIONS}
    if len(set(seeds.values())) == 1:
        return f"accord world compare --seeds {seeds['plain']}"
    run = [f"accord world compare --annotator {name} --seeds {count}" for name, count in seeds.items() if count]
    return "\n".join(run)


def _seeds(rows: Sequence[Row], condition: ConditionName) -> int:
    return max((len(row.results[condition].seeds) for row in rows if condition in row.results), default=0)


def _gold(table: Table, rows: Sequence[Row]) -> str:
    head = ["objective", *(_head(rows, condition) for condition in CONDITIONS)]
    starts = [table.starts.get(condition, {}).get("gold") for condition in CONDITIONS]
    start = ["*start*", *(f"{gold.mean:.3f}" if gold else "" for gold in starts)]
    lines = [[f"`{row.entry}`", *(_cell(row, rows, condition) for condition in CONDITIONS)] for row in _ordered(rows)]
    return f"""The rise in gold over the start, with its 95% interval over the held-out prompts, paired prompt by
prompt; all seeds count together, and answers to prompts about the same thing are one cluster. Few seeds say little
about other seeds; each seed's own difference stands in the next table, and where an objective has fewer seeds than the
head of the column says, its cell says so. Columns of different seeds have different starts: compare
within a column. A row with a flag is the objective told what is known of the data, and is trained with that annotator
only.

{markdown_table(head, [start, *lines])}"""


def _head(rows: Sequence[Row], condition: ConditionName) -> str:
    return f"{TITLES[condition]}, {_count_seeds(_seeds(rows, condition))}"


def _count_seeds(count: int) -> str:
    return "one seed" if count == 1 else f"{count} seeds"


def _cell(row: Row, rows: Sequence[Row], condition: ConditionName) -> str:
    if condition not in row.results:
        return ""
    result = row.results[condition]
    fewer = len(result.seeds) < _seeds(rows, condition)
    return difference(result.main.difference) + (f", {_count_seeds(len(result.seeds))}" if fewer else "")


def _ordered(rows: Sequence[Row]) -> list[Row]:
    """The best under the plain annotator first; rows that are told something follow their objective."""
    own = {row.objective: _plain(row) for row in rows if row.entry == row.objective}
    return sorted(rows, key=lambda row: (-own.get(row.objective, 0.0), row.objective, row.entry != row.objective))


def _plain(row: Row) -> float:
    return row.results["plain"].main.difference.mean if "plain" in row.results else 0.0


def _verdicts(rows: Sequence[Row]) -> str:
    lines = []
    for condition in CONDITIONS:
        of: dict[str, list[str]] = {"better": [], "not distinguishable": [], "worse": []}
        for row in rows:
            if condition in row.results:
                of[str(row.results[condition].main.verdict)].append(row.entry)
        parts = [f"{len(of['better'])} better than the start"]
        parts += [f"{words}: {_named(of[words])}" for words in ("not distinguishable", "worse") if of[words]]
        lines.append(f"- {TITLES[condition].capitalize()}: {'; '.join(parts)}.")
    return "\n".join(lines)


def _reasons(rows: Sequence[Row]) -> str:
    worse = [row.entry for row in rows if any(result.main.verdict == "worse" for result in row.results.values())]
    return "\n".join(f"- `{name}`: {_REASONS[name]}" for name in worse if name in _REASONS)


_REASONS = {
    "discopop": "from a margin of zero, where all pairs start, its loss falls towards the wrong order and has a local "
    "minimum there. At a beta of 0.1 and a temperature of 0.05 that is a margin of 1.2 nats the wrong way, "
    "and pairs that are not carried over the hump stay there.",
}
"""Why an objective may leave the model worse, where that follows from its equation."""


def _details(table: Table, rows: Sequence[Row]) -> str:
    head = ["objective", "gold", "by seed", "over-refusal", "words", "KL", "seconds", "MiB"]
    lines = []
    if "plain" in table.starts:
        start = table.starts["plain"]
        gold, refusal, words = (start[axis].mean for axis in ("gold", "over-refusal", "words"))
        lines.append(["*start*", f"{gold:.3f}", "", f"{refusal:.2f}", f"{words:.1f}", "0", "", ""])
    lines += [[f"`{row.entry}`", *_detail(row.results["plain"])] for row in _ordered(rows) if "plain" in row.results]
    return f"""Under the plain annotator. `by seed` is the rise in gold, from the lowest to the highest. KL is in nats a
response, over the model's own answers at temperature 1. Seconds are processor seconds of training one seed, from its
settings to the saved model, the reference's log-probabilities included, in one thread of {_machine()}. MiB is the
memory that this added at its highest to a process that held the libraries and the data.

{markdown_table(head, lines)}"""


def _detail(result: Result) -> list[str]:
    gold, refusal, words = (result.comparisons[axis].after.mean for axis in ("gold", "over-refusal", "words"))
    cost = [f"{result.seconds:.1f}", f"{result.memory:.0f}"]
    return [f"{gold:.3f}", _by_seed(result.by_seed), f"{refusal:.2f}", f"{words:.1f}", f"{result.kl:.2f}", *cost]


def _flipped_text() -> str:
    return f"""Robust objectives claim to lose less than `{BESIDE}` when labels are wrong. Rows with a flag were told
that the share is {FLIPPED:g}; `gpo --link savage` gives up pairs that stay hopeless. Differences to `{BESIDE}` are
paired prompt by prompt on the same seeds."""


def _length_text(table: Table) -> str:
    start = table.starts.get("length")
    words = f" The start says {start['words'].mean:.1f} words." if start else ""
    return f"""Length-controlled objectives claim to learn what is good without growing longer because the annotator
pays for it. Rows with a flag are told so: 0.1 nats a token is one nat over ten tokens, as `r_dpo` documents; at 0
`ld_dpo` counts only the length that both answers have; a mean over tokens takes a larger beta, as `dpo`
documents.{words}"""


def _claims(
    condition: ConditionName, title: str, text: str, rows: Sequence[Row], claimants: Sequence[str]
) -> list[str]:
    """The objectives that claim something under an annotator, beside DPO."""
    there = {row.entry: row.results[condition] for row in rows if condition in row.results}
    if BESIDE not in there:
        return []
    head = ["objective", "gold", "by seed", f"gold beside `{BESIDE}`", "words", f"words beside `{BESIDE}`"]
    named = [BESIDE, *(name for name in claimants if name in there)]
    lines = [[f"`{name}`", *_claim(there[name])] for name in named]
    others = {name: result for name, result in there.items() if result.beside}
    return [title, text, markdown_table(head, lines), _against(others, claimants)]


def _claim(result: Result) -> list[str]:
    gold, words = (result.comparisons[axis].after.mean for axis in ("gold", "words"))
    beside = {axis: difference(one) for axis, one in result.beside.items()}
    return [f"{gold:.3f}", _by_seed(result.by_seed), beside.get("gold", ""), f"{words:.1f}", beside.get("words", "")]


def _against(results: dict[str, Result], claimants: Sequence[str]) -> str:
    lines = []
    for words, names in (
        ("Of these", claimants),
        ("Of all others", [name for name in results if name not in claimants]),
    ):
        better = [name for name in names if name in results and results[name].beside["gold"].low > 0]
        worse = [name for name in names if name in results and results[name].beside["gold"].high < 0]
        shorter = [name for name in names if name in results and results[name].beside["words"].high < 0]
        said = [
            f"better in gold than `{BESIDE}`: {_named(better)}",
            f"worse: {_named(worse)}",
            f"shorter: {_named(shorter)}",
        ]
        lines.append(f"- {words}, {'; '.join(said)}.")
    return "\n".join(lines)


def _rewards(rows: Sequence[Row]) -> str:
    head = ["objective", *(_head(rows, condition) for condition in CONDITIONS), "by seed, plain", "seconds", "MiB"]
    lines = []
    for row in rows:
        accuracy = [
            _interval(row.results[condition].main.after) if condition in row.results else "" for condition in CONDITIONS
        ]
        plain = row.results.get("plain")
        rest = [_by_seed(plain.by_seed), f"{plain.seconds:.1f}", f"{plain.memory:.0f}"] if plain else ["", "", ""]
        lines.append([f"`{row.entry}`", *accuracy, *rest])
    return f"""Accuracy is the share of held-out pairs, compared by the oracle itself, in which the preferred answer
gets the higher reward; a tie counts one half. An untrained head ranks nothing, which is 0.5; `by seed` is the rise over
that. Models of several values are asked for their overall value.

{markdown_table(head, lines)}"""


def _recipe(table: Table) -> str:
    budget = table.budget
    pairs = ", ".join(f"{count} ({TITLES[name]})" for name, count in table.pairs.items())
    return f"""For each seed: the base model is fine-tuned on {budget["demonstrations"]} demonstrations, a tenth of them
bad ones, then answers {budget["prompts"]} new prompts {budget["answers"]} times each at temperature 1. The annotator
compares the best answer with the worst; pairs a seed: {pairs}. Every objective takes {budget["epochs"]} passes over
them, 32 pairs a step, with AdamW (0.9, 0.95), 5% warm-up and a linear decay.

- Labels are derived from the preferences: preferred is desirable. So are probabilities: 1 and 0.
- Scores are the annotator's own values, which agree with its preferences. `modpo` gets them as its second objective,
  models of several values beside a cost: 1 for an insult, which is also the cost of `cost_dpo`.
- `sft` imitates the preferred answers. Lists hold two answers, where list objectives come close to `dpo` or to it.
- `group_dpo` sees one group of annotators, where it is `dpo`. `cost_model` takes the preferred answer as the safe one.
- The teacher of `distill` is the base model, fine-tuned on {10 * budget["demonstrations"]} demonstrations: it does not
  learn from the preferences, and is told nothing by them."""


def _learning_rates(rows: Sequence[Row]) -> str:
    rates: dict[float, list[str]] = {}
    for row in rows:
        if row.entry == row.objective:
            rates.setdefault(row.learning_rate, []).append(row.entry)
    lines = [[f"{rate:g}", _named(names)] for rate, names in sorted(rates.items())]
    return markdown_table(["learning rate", "objectives"], lines)


def _named(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


def _interval(estimate: Estimate) -> str:
    return f"{estimate.mean:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def _by_seed(differences: Sequence[float]) -> str:
    low, high = _signed(min(differences)), _signed(max(differences))
    return low if len(differences) == 1 else f"{low} to {high}"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _is_number(text: str) -> bool:
    return not text or text.replace("−", "-").replace(".", "").lstrip("+-").isdigit()


def _machine() -> str:
    cores = os.cpu_count() or 1
    return {1: "one CPU core", 2: "two CPU cores"}.get(cores, f"{cores} CPU cores")
