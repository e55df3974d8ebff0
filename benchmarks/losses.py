"""Random batches through Accord's objectives and through TRL's own loss code: the same values, the same gradients.

TRL's trainers are made without a model: what their loss methods ask of one is a stand-in that returns given
log-probabilities. So the code that is compared is TRL's, from token log-probabilities to the loss of the batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
import trl
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from trl import DPOTrainer, KTOTrainer, RewardTrainer
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer

from accord.objectives import OBJECTIVES, signature_of

TOLERANCE = 1e-6
BATCHES, PAIRS, TOKENS = 50, 16, 12
HEADER = ("objective", "settings", "TRL", "loss, relative difference", "gradient, relative difference", "agrees")
CAPTION = (
    f"TRL {trl.__version__}, the largest difference over {BATCHES} random batches of {PAIRS} pairs of 1 to {TOKENS} "
    f"tokens, float64 (float32 where marked); agreement is at most {TOLERANCE:g}, in float32 1e-4."
)


@dataclass(frozen=True)
class Batch:
    """Pairs, the preferred response first: log-probabilities and collisions `[N,2,T]`, mask, rewards `[N,2]`."""

    policy: Tensor
    reference: Tensor
    mask: Tensor
    reward: Tensor
    mismatched: tuple[Tensor, Tensor]
    collision: Tensor


Oracle = Callable[[Batch], Tensor]


@dataclass(frozen=True)
class Case:
    """An objective, TRL's counterpart, and the factor between the two, with its reason in `theirs`."""

    objective: str
    hyper: dict[str, Any]
    theirs: str
    oracle: Oracle
    factor: float = 1.0
    dtype: torch.dtype = field(default=torch.float64)


class StandIn(nn.Module):
    """Answers a trainer's forward pass with log-probabilities; mismatched rows are known by their ids of 1."""

    is_gradient_checkpointing = False

    def __init__(self, rows: Tensor, mismatched: Tensor, collision: Tensor | None = None) -> None:
        super().__init__()
        self.rows, self.mismatched, self.collision = rows, mismatched, collision

    def forward(self, *, input_ids: Tensor, **_: Any) -> SimpleNamespace:
        logprobs = self.mismatched if bool(input_ids.any()) else self.rows
        nothing = torch.zeros_like(logprobs)
        return SimpleNamespace(
            log_probs=logprobs,
            entropy=nothing,
            mean_logits=nothing,
            is_top1=nothing > 0,
            log_sum_sq_probs=self.collision,
        )


def _same(value: Any) -> Any:
    return value


def trainer(kind: type[Any], **settings: Any) -> Any:
    """A trainer with the attributes that its loss reads, and no others."""
    made = kind.__new__(kind)
    made.__dict__.update(
        accelerator=SimpleNamespace(device=torch.device("cpu"), gather=_same, gather_for_metrics=_same),
        aux_loss_enabled=False,
        _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0,
        _tp_size=1,
        precompute_ref_logps=False,
        **settings,
    )
    return made


def rows_of(values: Tensor) -> Tensor:
    """`[N,2,T]` as TRL stacks it: all preferred rows, then all others."""
    return torch.cat([values[:, 0], values[:, 1]])


def inputs_of(mask: Tensor, mismatched: bool = False) -> dict[str, Tensor]:
    """Token ids and masks of such rows, after one token of prompt."""
    rows = torch.nn.functional.pad(rows_of(mask), (1, 0))
    ids = torch.full(rows.shape, int(mismatched))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "completion_mask": rows.long()}


def from_dpo(*losses: str, weights: tuple[float, ...] = (1.0,), **settings: Any) -> Oracle:
    """`DPOTrainer` with these loss types."""
    made = {
        "beta": 0.1,
        "ld_alpha": None,
        "f_divergence_type": "reverse_kl",
        "label_smoothing": 0.0,
        "use_weighting": False,
        "args": SimpleNamespace(gradient_checkpointing_kwargs=None, discopop_tau=0.05),
    } | settings

    def loss(batch: Batch) -> Tensor:
        model = StandIn(rows_of(batch.policy * batch.mask), batch.mismatched[0], rows_of(batch.collision))
        reference = StandIn(rows_of(batch.reference * batch.mask), batch.mismatched[1])
        made_trainer = trainer(
            DPOTrainer, model=model, ref_model=reference, loss_types=list(losses), loss_weights=list(weights), **made
        )
        return made_trainer._compute_loss(model, inputs_of(batch.mask), return_outputs=False)

    return loss


def from_kto(loss_type: str, **settings: float) -> Oracle:
    """`KTOTrainer`, each pair as two labelled rows."""

    def loss(batch: Batch) -> Tensor:
        model = StandIn(rows_of(batch.policy * batch.mask), batch.mismatched[0])
        reference = StandIn(rows_of(batch.reference * batch.mask), batch.mismatched[1])
        made_trainer = trainer(
            KTOTrainer,
            model=model,
            ref_model=reference,
            loss_type=loss_type,
            calculate_KL=loss_type == "kto",
            beta=0.1,
            args=SimpleNamespace(gradient_checkpointing_kwargs=None),
            **settings,
        )
        mismatched = {f"KL_{name}": value for name, value in inputs_of(batch.mask, mismatched=True).items()}
        labels = torch.arange(2 * len(batch.mask)) < len(batch.mask)
        inputs = inputs_of(batch.mask) | mismatched | {"label": labels}
        return made_trainer._compute_loss(model, inputs, return_outputs=False)

    return loss


def without_reference(kind: type[Any], *, mean: bool, **settings: Any) -> Oracle:
    """`CPOTrainer` or `ORPOTrainer`, given each response's log-probability and the preferred ones' likelihood."""

    def loss(batch: Batch) -> Tensor:
        totals = (batch.policy * batch.mask).sum(-1) / (batch.mask.sum(-1) if mean else 1.0)
        likelihood = -(batch.policy * batch.mask)[:, 0].sum() / batch.mask[:, 0].sum()
        made_trainer = trainer(kind, **({"label_smoothing": 0.0, "alpha": 0.0, "cpo_alpha": 0.0} | settings))
        forward = (totals[:, 0], totals[:, 1], totals, totals, likelihood)
        made_trainer.concatenated_forward = lambda *_: forward
        return made_trainer.get_batch_loss_metrics(None, {})[0]

    return loss


def from_rewards(*, centre: float | None = None, margin: float | None = None) -> Oracle:
    """`RewardTrainer`, given the rewards."""

    def loss(batch: Batch) -> Tensor:
        def model(**_: Any) -> SimpleNamespace:
            return SimpleNamespace(logits=rows_of(batch.reward.unsqueeze(-1)))

        made_trainer = trainer(
            RewardTrainer,
            model=SimpleNamespace(training=True),
            args=SimpleNamespace(center_rewards_coefficient=centre),
        )
        inputs: dict[str, Any] = {"attention_mask": torch.ones(1)}
        if margin is not None:
            inputs["margin"] = torch.full((len(batch.reward),), margin, dtype=batch.reward.dtype)
        return made_trainer.compute_loss(model, inputs)

    return loss


CASES = (
    Case("dpo", {}, "DPO sigmoid", from_dpo("sigmoid")),
    Case("dpo", {"nll": 0.5}, "DPO sigmoid + sft", from_dpo("sigmoid", "sft", weights=(1.0, 0.5))),
    Case("dpo", {"length": "token_mean", "beta": 5.0}, "DPO sigmoid_norm", from_dpo("sigmoid_norm", beta=5.0)),
    Case("robust_dpo", {"flip_rate": 0.2}, "DPO robust", from_dpo("robust", label_smoothing=0.2)),
    Case("ipo", {"tau": 0.3}, "DPO ipo", from_dpo("ipo", beta=0.3)),
    Case("gpo", {"link": "hinge", "beta": 0.3}, "DPO hinge", from_dpo("hinge", beta=0.3)),
    Case("exo", {"flip_rate": 0.01}, "DPO exo_pair", from_dpo("exo_pair", label_smoothing=0.01)),
    Case("nca", {}, "DPO nca_pair", from_dpo("nca_pair")),
    Case("apo", {"anchor": "zero"}, "DPO apo_zero", from_dpo("apo_zero")),
    Case("apo", {"anchor": "down"}, "DPO apo_down", from_dpo("apo_down")),
    Case("sppo", {"beta": 0.01}, "DPO sppo_hard, a sum of two squares, halved", from_dpo("sppo_hard", beta=0.01), 0.5),
    Case("discopop", {}, "DPO discopop", from_dpo("discopop")),
    Case("ld_dpo", {"alpha": 0.4}, "DPO ld_alpha", from_dpo("sigmoid", ld_alpha=0.4)),
    Case(
        "f_dpo",
        {"divergence": "forward_kl"},
        "DPO forward_kl",
        from_dpo("sigmoid", f_divergence_type="forward_kl"),
    ),
    Case("f_dpo", {"divergence": "js"}, "DPO js_divergence", from_dpo("sigmoid", f_divergence_type="js_divergence")),
    Case(
        "f_dpo",
        {"divergence": "alpha", "alpha": 0.3},
        "DPO alpha_divergence, coefficient 1 - alpha (float32)",
        from_dpo("sigmoid", f_divergence_type="alpha_divergence", f_alpha_divergence_coef=0.7),
        dtype=torch.float32,
    ),
    Case("wpo", {}, "DPO sigmoid, use_weighting", from_dpo("sigmoid", use_weighting=True)),
    Case("aot", {"label_smoothing": 0.1}, "DPO aot", from_dpo("aot", label_smoothing=0.1)),
    Case("bco", {}, "DPO bco_pair (no threshold), a sum of two responses, halved", from_dpo("bco_pair"), 0.5),
    Case(
        "kto",
        {"desirable_weight": 1.3, "undesirable_weight": 0.8},
        "KTO kto",
        from_kto("kto", desirable_weight=1.3, undesirable_weight=0.8),
    ),
    Case(
        "apo_unpaired",
        {"desirable_weight": 1.3},
        "KTO apo_zero_unpaired",
        from_kto("apo_zero_unpaired", desirable_weight=1.3, undesirable_weight=1.0),
    ),
    Case(
        "cpo",
        {},
        "CPO sigmoid",
        without_reference(CPOTrainer, mean=False, loss_type="sigmoid", beta=0.1, cpo_alpha=1.0),
    ),
    Case("slic", {"nll": 0.0}, "CPO hinge", without_reference(CPOTrainer, mean=False, loss_type="hinge", beta=1.0)),
    Case(
        "simpo",
        {"nll": 0.5},
        "CPO simpo, cpo_alpha (CPO-SimPO)",
        without_reference(CPOTrainer, mean=True, loss_type="simpo", beta=2.0, simpo_gamma=0.5, cpo_alpha=0.5),
    ),
    Case(
        "simpo",
        {"alpha": 0.25},
        "CPO simpo, alpha (AlphaPO)",
        without_reference(CPOTrainer, mean=True, loss_type="simpo", beta=2.0, simpo_gamma=0.5, alpha=0.25),
    ),
    Case(
        "orpo",
        {},
        "ORPO, computed in float32 (float32)",
        without_reference(ORPOTrainer, mean=True, beta=0.1),
        dtype=torch.float32,
    ),
    Case("bradley_terry", {}, "Reward", from_rewards()),
    Case("bradley_terry", {"margin": 0.3, "centre": 0.01}, "Reward", from_rewards(margin=0.3, centre=0.01)),
)


def random_batch(seed: int, dtype: torch.dtype) -> Batch:
    """Ragged pairs; policy and rewards carry gradients."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64).to(dtype)

    lengths = torch.randint(1, TOKENS + 1, (PAIRS, 2, 1), generator=generator)
    mask = (torch.arange(TOKENS) < lengths).to(dtype)
    return Batch(
        policy=(-2.0 * uniform(PAIRS, 2, TOKENS)).requires_grad_(),
        reference=-2.0 * uniform(PAIRS, 2, TOKENS),
        mask=mask,
        reward=(4.0 * uniform(PAIRS, 2) - 2.0).requires_grad_(),
        mismatched=(-1.8 * uniform(2 * PAIRS, TOKENS), -2.0 * uniform(2 * PAIRS, TOKENS)),
        collision=-2.0 * uniform(PAIRS, 2, TOKENS),
    )


def accord_loss(case: Case, batch: Batch) -> Tensor:
    """The objective's value on the batch, through the tensors that it names."""
    prefer = torch.zeros(PAIRS, 2, 2, dtype=batch.mask.dtype)
    prefer[:, 0, 1] = 1.0
    sums = [(values.detach() * batch.mask).sum(-1) for values in (batch.policy, batch.reference)]
    policy_kl, reference_kl = (values.sum(-1) for values in batch.mismatched)
    tensors = {
        "policy": batch.policy,
        "reference": batch.reference,
        "mask": batch.mask,
        "reward": batch.reward,
        "prefer": prefer,
        "label": torch.tensor([1.0, -1.0], dtype=batch.mask.dtype).expand(PAIRS, 2),
        "mismatched_kl": (policy_kl - reference_kl).mean(),
        "step_pairs": torch.stack([torch.ones_like(sums[0][:, 0]), *(s[:, 0] - s[:, 1] for s in sums)], -1),
        "collision": batch.collision,
        "state": {},
    }
    objective = OBJECTIVES[case.objective]
    return objective(*(tensors[name] for name in signature_of(objective).needs), **case.hyper).value()


def differences(case: Case) -> tuple[float, float]:
    """The largest relative difference in loss and in gradient over the batches."""
    worst_loss = worst_gradient = 0.0
    for seed in range(BATCHES):
        batch = random_batch(seed, case.dtype)
        leaf = batch.reward if "reward" in signature_of(OBJECTIVES[case.objective]).needs else batch.policy
        ours, theirs = accord_loss(case, batch), case.factor * case.oracle(batch)
        (our_gradient,), (their_gradient,) = (torch.autograd.grad(value, leaf) for value in (ours, theirs))
        worst_loss = max(worst_loss, float((ours - theirs).abs() / theirs.abs()))
        gap = (our_gradient - their_gradient).abs().max() / their_gradient.abs().max()
        worst_gradient = max(worst_gradient, float(gap))
    return worst_loss, worst_gradient


def compare(console: Console) -> list[dict[str, Any]]:
    """Compare every case, print the table, and return its lines."""
    lines = []
    for case in CASES:
        tolerance = TOLERANCE if case.dtype == torch.float64 else 1e-4
        lines.append(line_of(case.objective, case.hyper, case.theirs, differences(case), tolerance))
    show(console, lines, CAPTION)
    return lines


def line_of(
    objective: str, hyper: dict[str, Any], theirs: str, found: tuple[float, float], tolerance: float = TOLERANCE
) -> dict[str, Any]:
    """What was compared and how far it is apart, loss and gradient."""
    settings = " ".join(f"{name}={value}" for name, value in hyper.items())
    line = {"objective": objective, "settings": settings, "theirs": theirs, "loss": found[0], "gradient": found[1]}
    return line | {"agrees": max(found) <= tolerance}


def show(console: Console, lines: list[dict[str, Any]], caption: str) -> None:
    """Print the lines as a table, those that differ in red."""
    table = Table(*HEADER, caption=caption)
    for line in lines:
        table.add_row(*cells(line), style="" if line["agrees"] else "red")
    console.print(table)


def cells(line: dict[str, Any]) -> tuple[str, ...]:
    """A line of the table, as text."""
    agrees = "yes" if line["agrees"] else "no"
    return (
        line["objective"],
        line["settings"],
        line["theirs"],
        f"{line['loss']:.1e}",
        f"{line['gradient']:.1e}",
        agrees,
    )
