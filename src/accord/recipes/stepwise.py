"""Stepwise training (sDPO): data from easy to hard, in parts; the policy of one is the reference of the next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import torch
from rich.console import Console

from accord.data import Prepared, prepare, read
from accord.errors import ConfigError
from accord.objectives import resolve, signature_of
from accord.objectives.primitives import pairwise, seq_mean
from accord.policy.load import load_policy
from accord.policy.policy import Policy
from accord.recipes.align import align
from accord.record import write_groups
from accord.train import distributed
from accord.train.collate import feedback_tensors, make_examples
from accord.train.config import TrainConfig
from accord.train.plan import micro_batches
from accord.train.prepare import MAX_LENGTH, checked, split_by_prompt, tokens_at_once
from accord.train.progress import Display
from accord.train.run import RunResult


def stepwise(config: TrainConfig, *, parts: int, console: Console | None = None, fresh: bool = False) -> RunResult:
    """Train on the data in `parts` parts, one after the other, and return the last run.

    The parts are equal shares of the Groups in the order of how clearly the starting model prefers what the data
    prefers (mean log-probability per token), so that the first is what it finds easiest. Every part is a run of its
    own, `part-1`, `part-2`, ... in the run directory, with a report of its own; its reference is the policy it starts
    from. The parts' data and the held-out rows, the same for all, are beside them. The same call resumes.

    Args:
        config: the settings; `out` holds the runs, and epochs, steps and the learning rate are those of each part.
        parts: how many.
        console: where progress is shown.
        fresh: start again in runs that are there.

    Raises:
        ConfigError: the objective has no preferences or reference, or there are fewer Groups than parts.

    Source: Kim et al. 2024, "sDPO: don't use your data all at once" (arXiv:2403.19270).
    """
    config = checked(config)
    if parts < 2:
        raise ConfigError(f"{parts} is out of range", where="--stepwise", mend="Give at least 2.")
    if not {"reference", "prefer"} <= set(signature_of(resolve(config.objective)).needs):
        mend = "Train an objective on preferences with a reference, such as dpo."
        raise ConfigError(f"has no effect on {config.objective}", where="--stepwise", mend=mend)
    files, held_out = _cut(config, parts, Display(console if distributed.rank() == 0 else None))
    result = RunResult(Path(config.out), None, 0)
    model = config.model
    for number, file in enumerate(files, start=1):
        out = Path(config.out) / f"part-{number}"
        part = msgspec.structs.replace(
            config, model=model, data=(str(file),), eval_data=held_out, columns=None, axis=None, out=str(out)
        )
        result = align(part, console=console, fresh=fresh)
        model = str(out / "model")
    return result


def _cut(config: TrainConfig, parts: int, display: Display) -> tuple[list[Path], tuple[str, ...]]:
    """Write the parts' data, easiest first, and the held-out data if none is given; returns the files."""
    policy = load_policy(
        config.model,
        dtype=config.dtype,
        device=config.device,
        chat=config.chat,
        seed=config.seed,
        trust_remote_code=config.trust_remote_code,
    )
    data = _prepared(config, policy)
    held_out = config.eval_data
    folder = Path(config.out) / "data"
    if not held_out:
        data, aside = split_by_prompt(data, share=config.holdout, seed=config.seed)
        if aside is not None:
            held_out = (str(folder / "held-out.jsonl"),)
            write_groups(held_out[0], aside.groups)
    if len(data.groups) < parts:
        raise ConfigError(f"{len(data.groups)} groups cannot be cut into {parts} parts", where="--stepwise")
    with display.bar("ordering", len(data.groups)) as bar:
        margins = preference_margins(
            policy, data, micro_batch_tokens=tokens_at_once(config, policy), advance=bar.advance
        )
    order = sorted(range(len(margins)), key=lambda index: -margins[index])
    files = []
    for number in range(parts):
        part = order[number * len(order) // parts : (number + 1) * len(order) // parts]
        files.append(folder / f"part-{number + 1}.jsonl")
        write_groups(files[-1], [data.groups[index] for index in part])
        right = sum(margins[index] > 0 for index in part) / len(part)
        display.say(f"part {number + 1}: {len(part):,} groups, of which the start ranks {right:.0%} right")
    return files, held_out


def preference_margins(
    policy: Policy, data: Prepared, *, micro_batch_tokens: int, advance: Callable[[int], None] = lambda groups: None
) -> list[float]:
    """How clearly a policy prefers what each Group prefers, in nats a token: the mean over its preferences."""
    examples = make_examples(data.groups, data.encoded, mismatch=False)
    margins: dict[int, float] = {}
    for part in micro_batches(examples, micro_batch_tokens, policy.cost):
        rows = policy.rows([example.encoded for example in part])
        with torch.no_grad():
            difference = pairwise(seq_mean(policy.logprobs(rows), rows.mask)).cpu()
        prefer = feedback_tensors([example.group for example in part], difference.shape[-1], ("prefer",))["prefer"]
        means = (difference * prefer).sum((1, 2)) / prefer.sum((1, 2))
        margins |= {id(example): mean for example, mean in zip(part, means.tolist(), strict=True)}
        advance(len(part))
    return [margins[id(example)] for example in examples]


def _prepared(config: TrainConfig, policy: Policy) -> Prepared:
    """The data in the form that the objective trains on."""
    limit = min(policy.max_positions or MAX_LENGTH, MAX_LENGTH)
    return prepare(
        read(config.data, columns=config.columns, template=config.template),
        needs=signature_of(resolve(config.objective)).needs,
        encoder=policy.renderer,
        max_length=config.max_length or limit,
        overlong=config.overlong,
        axis=config.axis,
    )
