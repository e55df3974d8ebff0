"""The figures of a comparison of objectives, and the Markdown page that shows them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from accord.record import Comparison, Estimate


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One objective over all seeds.

    Attributes:
        objective: its name.
        learning_rate: peak learning rate.
        hyperparameters: its own, all at their defaults.
        comparisons: the start against the trained model: `gold`, `over-refusal` and `words` of its answers, or the
            `accuracy` of a reward model.
        by_seed: the difference in gold (or accuracy) of each seed alone.
        kl: nats a response away from the start; `None` for a reward model.
        seconds: of training, a seed.
        failure: why there are no figures.
    """

    objective: str
    learning_rate: float
    hyperparameters: dict[str, Any]
    comparisons: dict[str, Comparison] = {}
    by_seed: tuple[float, ...] = ()
    kl: float | None = None
    seconds: float = 0.0
    failure: str | None = None

    @property
    def main(self) -> Comparison:
        """What the verdict is about."""
        return self.comparisons["gold" if "gold" in self.comparisons else "accuracy"]


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A whole comparison.

    Attributes:
        command: makes it again.
        seeds: how many are in it.
        asked: how many the command asks for.
        pairs: preferences that each training saw, a seed.
        budget: how much of everything.
        annotator: who compared the answers.
        start: the fine-tuned model's figures, by axis.
        rows: one an objective.
    """

    command: str
    seeds: int
    asked: int
    pairs: int
    budget: dict[str, Any]
    annotator: dict[str, Any]
    start: dict[str, Estimate]
    rows: tuple[Row, ...]


def render(table: Table) -> str:
    """The page."""
    policies = [row for row in table.rows if "gold" in row.comparisons]
    rewards = [row for row in table.rows if "accuracy" in row.comparisons]
    failed = [row for row in table.rows if row.failure is not None]
    parts = [_introduction(table)]
    if policies:
        parts += ["## Policies", _policies(table, policies), _summary(policies)]
    if rewards:
        parts += ["## Reward models", _rewards(rewards)]
    if failed:
        parts += ["## Failures", "\n".join(f"- `{row.objective}`, {row.failure}" for row in failed)]
    parts += ["## Recipe", _recipe(table), _learning_rates(table.rows)]
    return "\n\n".join(parts) + "\n"


def _introduction(table: Table) -> str:
    return f"""# What each objective does on the embedded world

```bash
{table.command}
```

Every objective starts from one fine-tuned model and learns from the same preferences, at its default hyperparameters;
start and preferences are drawn anew for each seed, here {_seeds(table)}. {_annotator(table.annotator)}
Each model then answers {table.budget["held_out"]} held-out prompts at temperature 0.7, and the exact oracle judges the
answers. The JSON file beside this page has the figures in full.

A model of 0.4 million parameters in a town of twenty people says which objectives learn and how they fail, not which
is best for yours. Neither hyperparameters nor learning rates were tuned for each objective, so the order of the table
is that of these defaults at this recipe."""


def _annotator(annotator: dict[str, Any]) -> str:
    parts = ["The annotator prefers what the oracle scores higher"]
    if annotator["length_bias"]:
        parts.append(f", adds {annotator['length_bias']:g} for every ten words")
    if annotator["noise"]:
        parts.append(f", and records {annotator['noise']:.0%} of the preferences the wrong way round")
    return "".join(parts) + "."


def _policies(table: Table, rows: Sequence[Row]) -> str:
    start = table.start
    head = ["objective", "gold", "difference to the start", "by seed", "verdict"]
    head += ["over-refusal", "words", "KL", "seconds"]
    first = ["*start*", f"{start['gold'].mean:.3f}", "", "", "", f"{start['over-refusal'].mean:.2f}"]
    lines = [[*first, f"{start['words'].mean:.1f}", "0", ""]]
    for row in sorted(rows, key=lambda row: -row.main.difference.mean):
        gold, refusal, words = (row.comparisons[axis] for axis in ("gold", "over-refusal", "words"))
        lines.append(
            [
                f"`{row.objective}`",
                f"{gold.after.mean:.3f}",
                _difference(gold.difference),
                _by_seed(row.by_seed),
                str(gold.verdict),
                f"{refusal.after.mean:.2f}",
                f"{words.after.mean:.1f}",
                f"{row.kl:.2f}",
                f"{row.seconds:.1f}",
            ]
        )
    explained = """Differences have 95% intervals over the held-out prompts, paired prompt by prompt; all seeds count
together, and answers to prompts about the same thing are one cluster. Few seeds say little about other seeds, so each
seed's own difference stands beside: from the lowest to the highest. KL is in nats a response, over the model's own
answers at temperature 1. Seconds are those of training one seed by the clock, in one thread of """
    return (
        explained
        + f"{_machine()}; the\nreference's log-probabilities are computed once for all.\n\n{_table(head, lines)}"
    )


def _summary(rows: Sequence[Row]) -> str:
    verdicts = {verdict: [row.objective for row in rows if row.main.verdict == verdict] for verdict in _VERDICTS}
    lines = [f"- {words}: {_named(verdicts[verdict])}." for verdict, words in _VERDICTS.items()]
    worse = verdicts["worse"]
    return "\n".join([*lines, *(f"- `{name}`: {_REASONS[name]}" for name in worse if name in _REASONS)])


def _named(objectives: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in objectives) or "none"


_REASONS = {
    "discopop": "from a margin of zero, where all pairs start, its loss falls towards the wrong order and has a local "
    "minimum there. At a beta of 0.1 and a temperature of 0.05 that is a margin of 1.2 nats the wrong way, "
    "and pairs that are not carried over the hump stay there.",
}
"""Why an objective may leave the model worse, where that follows from its equation."""

_VERDICTS = {"better": "Better", "not distinguishable": "Not distinguishable from the start", "worse": "Worse"}


def _rewards(rows: Sequence[Row]) -> str:
    head = ["objective", "accuracy untrained", "accuracy", "95% interval", "by seed", "verdict", "seconds"]
    lines = []
    for row in rows:
        before, after = row.main.before, row.main.after
        interval = f"{after.low:.3f} to {after.high:.3f}"
        main = [f"`{row.objective}`", f"{before.mean:.3f}", f"{after.mean:.3f}", interval, _by_seed(row.by_seed)]
        lines.append([*main, str(row.main.verdict), f"{row.seconds:.1f}"])
    explained = """Accuracy is the share of held-out pairs, compared by the oracle itself, in which the preferred answer
gets the higher reward; a tie counts one half. `by seed` is the rise over the untrained head."""
    return f"{explained}\n\n{_table(head, lines)}"


def _recipe(table: Table) -> str:
    budget = table.budget
    return f"""For each seed: the base model is fine-tuned on {budget["demonstrations"]} demonstrations, a tenth of them
bad ones, then answers {budget["prompts"]} new prompts {budget["answers"]} times each at temperature 1. The annotator
compares the best answer with the worst, which leaves about {table.pairs} pairs. Every objective takes
{budget["epochs"]} passes over them, 32 pairs a step, with AdamW (0.9, 0.95), 5% warm-up and a linear decay.

- Labels are derived from the preferences: preferred is desirable. So are probabilities: 1 and 0.
- Scores are the annotator's own values, which agree with its preferences. `modpo` gets them as its second objective.
- Costs are 1 for an insult, for `cost_dpo`. There is one annotator, so `group_dpo` is `dpo`.
- `sft` imitates the preferred answers. Lists hold two answers, where list objectives come close to `dpo` or to it.
- `cost_model` takes the preferred answer as the safe one."""


def _learning_rates(rows: Iterable[Row]) -> str:
    rates: dict[float, list[str]] = {}
    for row in rows:
        rates.setdefault(row.learning_rate, []).append(row.objective)
    lines = [[f"{rate:g}", _named(names)] for rate, names in sorted(rates.items())]
    return _table(["learning rate", "objectives"], lines)


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rule = ["---", *("---:" if name in _NUMERIC else "---" for name in head[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines))


_NUMERIC = {"gold", "accuracy", "accuracy untrained", "over-refusal", "words", "KL", "seconds"}


def _difference(difference: Estimate) -> str:
    return f"{_signed(difference.mean)} ({_signed(difference.low)} to {_signed(difference.high)})"


def _by_seed(differences: Sequence[float]) -> str:
    return f"{_signed(min(differences))} to {_signed(max(differences))}"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _seeds(table: Table) -> str:
    if table.seeds < table.asked:
        return f"{table.seeds} of {table.asked} seeds (the others were not run)"
    return "one seed" if table.seeds == 1 else f"{table.seeds} seeds"


def _machine() -> str:
    cores = os.cpu_count() or 1
    return {1: "one CPU core", 2: "two CPU cores"}.get(cores, f"{cores} CPU cores")
