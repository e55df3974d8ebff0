"""Random rounds through Accord's policy-gradient rows and through TRL's own loss code: the same values and gradients.

TRL's trainers are made without a model, as for the other objectives; what they ask for are the log-probabilities of the
completions. Advantages are given to both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import torch
from rich.console import Console
from torch import Tensor
from trl import GRPOTrainer, RLOOTrainer

from accord.objectives.policy_gradient import METHODS, Method
from accord.objectives.policy_gradient.denominators import constant, sequence_sum, token_mean
from accord.objectives.policy_gradient.groups import group_standardised, leave_one_out
from benchmarks.losses import line_of, show, trainer

BATCHES, GROUPS, RESPONSES, TOKENS = 50, 4, 4, 12
CAPTION = (
    f"Policy gradients: the largest difference over {BATCHES} random rounds of {GROUPS} groups of {RESPONSES} "
    f"responses of 1 to {TOKENS} tokens, off-policy, float64."
)


@dataclass(frozen=True)
class Round:
    """Log-probabilities `[B,n,T]` under policy, behaviour and reference, entropies, mask, and scores `[B,n]`."""

    policy: Tensor
    behaviour: Tensor
    reference: Tensor
    entropy: Tensor
    mask: Tensor
    score: Tensor


@dataclass(frozen=True)
class Case:
    """A row at settings, and TRL's trainer at its own."""

    method: Method
    hyper: dict[str, Any]
    theirs: str
    oracle: Callable[[Round, Tensor], Tensor]


def random_round(seed: int) -> Round:
    """A ragged round; policy and entropy carry gradients."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    shape = (GROUPS, RESPONSES, TOKENS)
    lengths = torch.randint(1, TOKENS + 1, (GROUPS, RESPONSES, 1), generator=generator)
    behaviour = -2.0 * uniform(*shape)
    return Round(
        policy=(behaviour + 0.8 * (uniform(*shape) - 0.5)).requires_grad_(),
        behaviour=behaviour,
        reference=behaviour + 0.8 * (uniform(*shape) - 0.5),
        entropy=uniform(*shape).requires_grad_(),
        mask=(torch.arange(TOKENS) < lengths).double(),
        score=2.0 * uniform(GROUPS, RESPONSES),
    )


def inputs_of(batch: Round, advantage: Tensor) -> dict[str, Any]:
    """What TRL's losses read: one row a response, after one token of prompt."""
    mask = batch.mask.flatten(0, 1)
    prompt = torch.ones(len(mask), 1, dtype=torch.long)
    return {
        "prompt_ids": prompt,
        "prompt_mask": prompt,
        "completion_ids": torch.ones_like(mask, dtype=torch.long),
        "completion_mask": mask,
        # One advantage a response: that of its first token.
        "advantages": advantage[..., 0].flatten(),
        "old_per_token_logps": batch.behaviour.flatten(0, 1),
        "old_logps": (batch.behaviour * batch.mask).sum(-1).flatten(),
        "ref_per_token_logps": batch.reference.flatten(0, 1),
        "num_items_in_batch": mask.sum(),
    }


def _reduced(tensor: Tensor, **_: Any) -> Tensor:
    return tensor


def made(kind: type[Any], batch: Round, **settings: Any) -> Any:
    """A trainer in its first accumulation step, on one process."""
    built = trainer(kind, **settings)
    built.model = SimpleNamespace(training=True)
    built._metrics = defaultdict(lambda: defaultdict(list))
    built.accelerator = SimpleNamespace(
        gather=_reduced, gather_for_metrics=_reduced, reduce=_reduced, num_processes=1, sync_gradients=True
    )
    outputs = (batch.policy.flatten(0, 1), batch.entropy.flatten(0, 1), None)
    built._get_per_token_logps_and_entropies = lambda *_, **__: outputs
    return built


def from_grpo(
    loss_type: str,
    *,
    beta: float = 0.0,
    level: str = "token",
    low: float = 0.2,
    high: float = 0.2,
    delta: float | None = None,
    entropy: float = 0.0,
    corrected: bool = False,
) -> Callable[[Round, Tensor], Tensor]:
    """`GRPOTrainer` with this loss type."""

    def loss(batch: Round, advantage: Tensor) -> Tensor:
        built = made(
            GRPOTrainer,
            batch,
            loss_type=loss_type,
            beta=beta,
            importance_sampling_level=level,
            epsilon_low=low,
            epsilon_high=high,
            top_entropy_quantile=1.0,
            off_policy_mask_threshold=None,
            use_vllm=False,
            current_gradient_accumulation_steps=1,
            max_completion_length=TOKENS,
            use_adaptive_entropy=False,
            entropy_coef=entropy,
            _entropy_bonus_enabled=bool(entropy),
            args=SimpleNamespace(delta=delta, use_bias_correction_kl=corrected, steps_per_generation=1),
        )
        return built._compute_loss(built.model, inputs_of(batch, advantage))

    return loss


def from_rloo(batch: Round, advantage: Tensor) -> Tensor:
    """`RLOOTrainer`."""
    built = made(RLOOTrainer, batch, epsilon_low=0.2, epsilon_high=0.2)
    return built._compute_loss(built.model, inputs_of(batch, advantage))


GRPO = METHODS["grpo"]
TOKENWISE = replace(GRPO, name="grpo, token mean", denominator=token_mean)
BY_CONSTANT = replace(METHODS["dr_grpo"], denominator=constant)
SEQUENCE_LEVEL = from_grpo("grpo", level="sequence", low=3e-4, high=4e-4)
SUMMED = replace(METHODS["gspo"], name="gspo, sequence sum", denominator=sequence_sum)

CASES = (
    Case(GRPO, {}, "GRPO grpo, beta 0.04", from_grpo("grpo", beta=0.04)),
    Case(GRPO, {"kl_loss": 0.0}, "GRPO grpo", from_grpo("grpo")),
    Case(
        GRPO,
        {"kl_loss": 0.1, "kl_estimator": "k3_ratio"},
        "GRPO grpo, use_bias_correction_kl",
        from_grpo("grpo", beta=0.1, corrected=True),
    ),
    Case(
        GRPO,
        {"kl_loss": 0.0, "clip_high": 0.28, "dual_clip": 1.4},
        "GRPO grpo, delta",
        from_grpo("grpo", high=0.28, delta=1.4),
    ),
    Case(
        GRPO,
        {"kl_loss": 0.0, "entropy_coefficient": 0.01},
        "GRPO grpo, entropy_coef",
        from_grpo("grpo", entropy=0.01),
    ),
    Case(TOKENWISE, {}, "GRPO bnpo, beta 0.04", from_grpo("bnpo", beta=0.04)),
    Case(BY_CONSTANT, {"token_budget": float(TOKENS)}, "GRPO dr_grpo", from_grpo("dr_grpo")),
    Case(METHODS["dapo"], {}, "GRPO dapo", from_grpo("dapo", high=0.28)),
    Case(METHODS["gspo"], {}, "GRPO grpo, sequence level", SEQUENCE_LEVEL),
    Case(METHODS["gspo_token"], {}, "GRPO grpo, sequence level", SEQUENCE_LEVEL),
    Case(SUMMED, {}, "GRPO luspo, sequence level", from_grpo("luspo", level="sequence", low=3e-4, high=4e-4)),
    Case(METHODS["cispo"], {"clip_high": 0.2}, "GRPO cispo, bound 1.2", from_grpo("cispo", high=1.2)),
    Case(METHODS["rloo"], {}, "RLOO", from_rloo),
)


def credited(batch: Round, method: Method) -> Tensor:
    """The advantages of the round by the row's own baseline, without a price of the divergence."""
    ones = torch.ones_like(batch.score)
    estimator = leave_one_out if method.estimator is leave_one_out else group_standardised
    return estimator(batch.score, ones, ones, torch.ones_like(batch.mask), torch.zeros_like(batch.mask)).advantage


def accord_loss(case: Case, batch: Round, advantage: Tensor) -> Tensor:
    """The row's value on the round, through the tensors that it names."""
    tensors = {
        "policy": batch.policy,
        "behaviour": batch.behaviour,
        "reference": batch.reference,
        "entropy": batch.entropy,
        "mask": batch.mask,
        "advantage": advantage * batch.mask,
    }
    objective = case.method.objective(case.hyper)
    return objective(*(tensors[name] for name in objective.signature.needs)).value()


def differences(case: Case) -> tuple[float, float]:
    """The largest relative difference in loss and in gradient over the rounds."""
    worst_loss = worst_gradient = 0.0
    for seed in range(BATCHES):
        batch = random_round(seed)
        advantage = credited(batch, case.method)
        ours, theirs = accord_loss(case, batch, advantage), case.oracle(batch, advantage)
        (our_gradient,), (their_gradient,) = (torch.autograd.grad(value, batch.policy) for value in (ours, theirs))
        worst_loss = max(worst_loss, float((ours - theirs).detach().abs() / theirs.detach().abs()))
        gap = (our_gradient - their_gradient).abs().max() / their_gradient.abs().max()
        worst_gradient = max(worst_gradient, float(gap))
    return worst_loss, worst_gradient


def compare(console: Console) -> list[dict[str, Any]]:
    """Compare every case, print the table, and return its lines."""
    lines = [line_of(case.method.name, case.hyper, case.theirs, differences(case)) for case in CASES]
    show(console, lines, CAPTION)
    return lines
