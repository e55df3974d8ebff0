"""The figures of training under constraints, and the Markdown page that shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from accord.record import Comparison, Estimate


class Mode(msgspec.Struct, frozen=True, kw_only=True):
    """One way to train, all seeds together.

    Attributes:
        name: of the mode.
        method: that trains in it.
        violations: share of the answers that break the rule, the start against the trained policy.
        helpful: right instructions on prompts that may have them.
        by_seed: violations of each seed.
        seconds: of processor time, a seed.
    """

    name: str
    method: str
    violations: Comparison
    helpful: Comparison
    by_seed: tuple[float, ...]
    seconds: float


class Learned(msgspec.Struct, frozen=True, kw_only=True):
    """A learned constraint on held-out answers that the oracle labels, of one seed.

    Attributes:
        violations: how many of them break the rule.
        lawful: how many keep it.
        separation: how often a broken rule is less permissible than a kept one (area under the ROC curve).
        cost_of_violations: mean cost of an answer that breaks the rule, from 0 to 1.
        cost_of_lawful: of one that keeps it.
        cost_of_help: of right and lawful instructions.
    """

    violations: int
    lawful: int
    separation: float
    cost_of_violations: float
    cost_of_lawful: float
    cost_of_help: float


class Study(msgspec.Struct, frozen=True, kw_only=True):
    """The whole study.

    Attributes:
        command: makes it again.
        asked: how many seeds the command asks for.
        seeds: how many are in it.
        plan: how much of everything.
        modes: with the rule known, the unconstrained policy first.
        learned: the hidden rule as each seed learned it.
        within: the policy trained within it.
    """

    command: str
    asked: int
    seeds: int
    plan: dict[str, Any]
    modes: tuple[Mode, ...]
    learned: tuple[Learned, ...]
    within: Mode


def render(study: Study) -> str:
    """The page."""
    parts = [_introduction(study), "## The rule is known", _modes(study), _verdicts(study)]
    parts += ["## The rule is hidden", _hidden(study), "## Recipe", _recipe(study)]
    return "\n\n".join(parts) + "\n"


def _introduction(study: Study) -> str:
    plan = study.plan
    return f"""# Training under constraints on the embedded world

```bash
{study.command}
```

The reward pays for right instructions, whoever asks for whatever. A third of the prompts ask how to harm somebody, and
the rule forbids to instruct them; a third ask the like about things, and a third are innocent. At most
{plan["limit"]:.0%} of all answers may break the rule. {_seeds(study)} Each policy then answers {plan["held_out"]}
held-out prompts at the temperature of training, and the oracle says which answers break the rule. The JSON file beside
this page has the figures in full."""


def _modes(study: Study) -> str:
    start = study.modes[0]
    head = ["mode", "method", "violations", "by seed", f"within {study.plan['limit']:.0%}", "helpful", "seconds"]
    lines = [["*start*", "", _estimate(start.violations.before), "", "", _estimate(start.helpful.before), ""]]
    lines += [_line(mode, study.plan["limit"]) for mode in study.modes]
    return f"""Violations are shares of all answers, helpfulness is the share of right instructions on innocent prompts.
Both have 95% intervals over the held-out prompts; prompts about the same thing are one cluster.

{_table(head, lines)}"""


def _line(mode: Mode, limit: float) -> list[str]:
    held = sum(rate <= limit for rate in mode.by_seed)
    rates = ", ".join(f"{rate:.3f}" for rate in mode.by_seed)
    verdict = f"{held} of {len(mode.by_seed)} seeds"
    figures = [_estimate(mode.violations.after), rates, verdict, _estimate(mode.helpful.after), f"{mode.seconds:.0f}"]
    return [mode.name, f"`{mode.method}`", *figures]


def _verdicts(study: Study) -> str:
    limit = study.plan["limit"]
    held = [mode.name for mode in study.modes if max(mode.by_seed) <= limit]
    broke = [mode.name for mode in study.modes if min(mode.by_seed) > limit]
    mixed = [mode.name for mode in study.modes if mode.name not in (*held, *broke)]
    lines = [
        f"- Within the limit on every seed: {_named(held)}.",
        f"- On some seeds: {_named(mixed)}.",
        f"- On none: {_named(broke)}.",
        "- `reject` learns from permitted answers alone and is never told what it must not say: it cannot unlearn a "
        "violation, and what it learns of the others carries over to it.",
    ]
    if any(mode.method == "constrained_trpo" for mode in study.modes if mode.name not in held):
        lines.append(
            "- A step of `constrained_trpo` meets the limit on the answers that it was computed from. A few hundred of "
            "them let it do so partly by what is particular to them, fresh answers cost more, and nothing carries the "
            "rest over to the next step, as the multiplier of `ppo_lagrangian` does."
        )
    return "\n".join(lines)


def _hidden(study: Study) -> str:
    limit, within = study.plan["limit"], study.within
    head = ["seed", "violations", "lawful", "separation", "cost of violations", "of lawful answers", "of right help"]
    lines = [
        [
            str(seed),
            str(one.violations),
            str(one.lawful),
            f"{one.separation:.3f}",
            f"{one.cost_of_violations:.2f}",
            f"{one.cost_of_lawful:.2f}",
            f"{one.cost_of_help:.2f}",
        ]
        for seed, one in enumerate(study.learned)
    ]
    unconstrained = study.modes[0].violations.after.mean
    return f"""Nobody says what the rule is. {study.plan["lawful"]} demonstrations keep it; the unconstrained policy,
trained on the same reward, breaks it. `inverse_constraint` learns what the policy does and the demonstrators do not,
with a classifier on the start's weights. An answer costs nothing where demonstrators would give it as often, and up to
1 where they never would. Here it judges held-out answers of the start and of the unconstrained policy that the oracle
labels: separation is how often a violation is less permissible than a lawful answer; the costs are means.

{_table(head, lines)}

`{within.method}` then trains on the reward while the learned cost of its answers stays within {limit:g} of that of the
demonstrations.

- Violations by the oracle: {_estimate(within.violations.after)}, where the unconstrained policy has
  {unconstrained:.3f}; by seed {", ".join(f"{rate:.3f}" for rate in within.by_seed)}.
- Helpful on innocent prompts: {_estimate(within.helpful.after)}.
- Learning the rule and training within it took {within.seconds:.0f} s a seed."""


def _recipe(study: Study) -> str:
    plan = study.plan
    return f"""For each seed the base model is fine-tuned on {plan["demonstrations"]} demonstrations, a tenth of them
bad ones. PPO and PPO-Lagrangian take {plan["rounds"]} rounds of 64 answers, each used twice, at learning rate 3e-4;
the multiplier follows the cost at a rate of 5. Constrained TRPO takes {plan["steps"]} steps on 192 answers, each within
0.01 nats a token, by 5 iterations of conjugate gradient at a damping of 0.01. `penalty` takes {plan["price"]:g} off the
reward for a violation, `reject` draws an answer up to three times again. The constraint is a classifier without a
regulariser: four passes over the demonstrations and as many answers, at 1e-3. Seconds are of processor time, in one
thread."""


def _seeds(study: Study) -> str:
    if study.seeds < study.asked:
        return f"{study.seeds} of {study.asked} seeds are in (the others were not run)."
    return "One seed." if study.seeds == 1 else f"{study.seeds} seeds, each with a start and prompts of its own."


def _estimate(estimate: Estimate) -> str:
    return f"{estimate.mean:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def _named(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines))
