"""The page of the study of constitutions."""

from __future__ import annotations

from accord.recipes.constitution_arms import ArmFound, ConstitutionStudy
from accord.recipes.judge_table import interval
from accord.record import Estimate

_HEAD = """# Constitutional AI on the embedded world

The base model that ships with Accord has read critiques, revisions and comparisons, beside a flawed corpus. It answers
{prompts} prompts, criticises and revises its answers by the town's constitution (`tidewater`, five principles), and
imitates what is kept: SL-CAI. The model so tuned answers each prompt twice and learns by DPO from soft labels: RL-CAI.
The base is answerer, critic, reviser and judge; nobody labels anything, and the oracle only measures. {seeds} seeds,
{held_out} held-out prompts, answered at temperature 0.7; intervals are 95%, clustered by prompt.
`{command}` writes this page.

Arms differ in what is kept and in who labels. *Every revision*: four rounds, each by a principle that is drawn by its
weight, and what was written last is kept, as in the paper (Bai et al. 2022). *The best by the critics*: the answer or
revision that keeps the constitution best by the critics' own scores. *Both orders*: a revision is taken only where the
base, as a judge of pairs, prefers it in both orders; of those the best by the critics. Critics label a pair by the
log-odds of their scores; the judge of pairs labels it in both orders. The principle "helpful" has three times the
weight of the others, since a refusal keeps all of the others; that was chosen on prompts of the aligning split. *Even
weights* shows what it is worth.

A constitution is a file. `accord judge --principles` and `accord train --judge M --principles` read it as well:

```toml
name = "House rules"

[[principles]]
name = "kind"
text = "The answer insults nobody."
weight = 2.0                                                  # optional, as are the wordings
critique = "Which words of the answer would hurt someone?"
revision = "Say the same without the words that hurt."
choice = "It is kinder."
```

```console
$ accord constitution revise --data prompts.jsonl --constitution house.toml --answerer M --critic M --out revised
$ accord constitution compare house.toml edited.toml --data pairs.jsonl --judge M
$ accord constitution train --model M --data prompts.jsonl --constitution house.toml --judge critics --out runs/cai
```
"""


def render(study: ConstitutionStudy) -> str:
    """The page as Markdown."""
    head = _HEAD.format(
        command=study.command, prompts=study.scale.prompts, seeds=study.seeds, held_out=study.scale.held_out
    )
    parts = [head, *_learned(study), *_held(study), *_revised(study), *_principles(study), *_edit(study)]
    return "\n".join(parts)


def _learned(study: ConstitutionStudy) -> list[str]:
    axes = list(study.base)
    lines = ["## What was learned", "", f"| arm | kept | labels | stage | {' | '.join(axes)} |"]
    lines += ["|---|---|---|---|" + "---:|" * len(axes)]
    lines.append(f"| – | – | – | base | {_means(study.base)} |")
    for name, one in study.arms.items():
        for stage, found in (("SL-CAI", one.sl), ("RL-CAI", one.rl)):
            lines.append(f"| {name} | {one.arm.kept} | {one.arm.labels} | {stage} | {_means(found.axes)} |")
    lines += ["", "Change since the base:", ""]
    lines += ["| arm | stage | gold | harmless | helpful | over-refusal |", "|---|---|---|---|---|---|"]
    for name, one in study.arms.items():
        for stage, found in (("SL-CAI", one.sl), ("RL-CAI", one.rl)):
            changes = " | ".join(
                interval(found.change[axis]) for axis in ("gold", "harmless", "helpful", "over-refusal")
            )
            lines.append(f"| {name} | {stage} | {changes} |")
    lines += ["", "Intervals are over prompts. How far one seed is from another, from the base to RL-CAI:", ""]
    lines += ["| arm | gold | harmless | helpful | over-refusal |", "|---|---|---|---|---|"]
    for name, one in study.arms.items():
        by_axis = (
            ", ".join(f"{seed[axis]:+.2f}".replace("-", "−") for seed in one.by_seed)
            for axis in ("gold", "harmless", "helpful", "over-refusal")
        )
        lines.append(f"| {name} | {' | '.join(by_axis)} |")
    return [*lines, ""]


def _held(study: ConstitutionStudy) -> list[str]:
    margin = f"{study.margin:.2f}"
    lines = ["## What held and what did not", ""]
    lines.append(
        "The claim: harm falls, and helpfulness does not fall by more than "
        f"{margin} at the lower limit of its interval. Over-refusal of innocent questions is the price to look for."
    )
    lines.append("")
    for name, one in study.arms.items():
        change = one.rl.change
        harm = _moved(change["harmless"], "harmlessness")
        held = "held" if change["harmless"].low > 0 and change["helpful"].low > -study.margin else "did not hold"
        helped = f"helpfulness changed by {interval(change['helpful'])}"
        refused = _moved(change["over-refusal"], "over-refusal")
        lines.append(f"- *{name}*: the claim {held}. From base to RL-CAI {harm}, {helped}, {refused}.")
        last = one.rl.last
        lines.append(f"  RL-CAI after SL-CAI: {_moved(last['gold'], 'gold')}, {_moved(last['harmless'], 'harmless')}.")
    return [*lines, ""]


def _revised(study: ConstitutionStudy) -> list[str]:
    lines = ["## What revision did to the base's answers", ""]
    lines += ["| kept | answers | changed | taken | refused | unreadable | gold | harmless | helpful | over-refusal |"]
    lines += ["|---|---:|---:|---:|---:|---:|---|---|---|---|"]
    for one in _by_rule(study):
        moved = " | ".join(
            f"{before.mean:.2f}, changed by {interval(change)}"
            for before, change in (one.revised[axis] for axis in ("gold", "harmless", "helpful", "over-refusal"))
        )
        lines.append(
            f"| {one.arm.kept} | {one.answers[0]:,} | {one.answers[1]:,} | {one.outcomes['taken']:,} "
            f"| {one.outcomes['refused']:,} | {one.outcomes['unreadable']:,} | {moved} |"
        )
    return [*lines, ""]


def _principles(study: ConstitutionStudy) -> list[str]:
    lines = ["## Principles kept, by the critics themselves", ""]
    lines += ["| kept | principle | before | after | change |", "|---|---|---|---|---|"]
    for one in _by_rule(study):
        for name, kept in one.principles.items():
            shares = f"{interval(kept.before)} | {interval(kept.after)} | {interval(kept.difference)}"
            lines.append(f"| {one.arm.kept} | {name} | {shares} |")
    lines += ["", "Where every revision is taken, nobody scores."]
    return [*lines, ""]


def _edit(study: ConstitutionStudy) -> list[str]:
    """What `accord constitution compare` says of the weight."""
    found = study.edit
    (first, _), (second, _) = found.names
    lines = ["## What the weight of one principle does to labels", ""]
    lines.append(
        f"`accord constitution compare`, on {found.pairs[1]:,} pairs of the first seed's model after SL-CAI: {first} "
        f"against {second}. Another answer wins in {interval(found.flips)} of the pairs; labels move by "
        f"{interval(found.shift)} on average."
    )
    if found.gold is not None:
        before, after, difference = map(interval, found.gold)
        lines[-1] += f" Agreement with the oracle: {before} and {after}; difference {difference}."
    lines += ["", "| without the principle | another winner | labels move by |", "|---|---|---|"]
    lines += [
        f"| {name} | {interval(effect.flips)} | {interval(effect.shift)} |" for name, effect in found.effects[0].items()
    ]
    lines += ["", "| conflict | of the pairs |", "|---|---|"]
    lines += [f"| {one.first} against {one.second} | {interval(one.share)} |" for one in found.conflicts]
    return [*lines, ""]


def _by_rule(study: ConstitutionStudy) -> list[ArmFound]:
    """One arm for each way to keep revisions: those that share it revise alike."""
    return list({one.arm.kept: one for one in reversed(study.arms.values())}.values())[::-1]


def _means(axes: dict[str, Estimate]) -> str:
    return " | ".join(f"{one.mean:.1f}" if name == "words" else f"{one.mean:.2f}" for name, one in axes.items())


def _moved(change: Estimate, what: str) -> str:
    if change.low > 0:
        return f"{what} rose by {interval(change)}"
    if change.high < 0:
        return f"{what} fell by {interval(_downwards(change))}"
    return f"no change of {what} can be told ({interval(change)})"


def _downwards(change: Estimate) -> Estimate:
    return Estimate(-change.mean, -change.high, -change.low, change.n)
