"""Diffusion-DPO, and the loss it is often mistaken for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.diffusion.schedule import EpsModel, Schedule
from accord.objectives import Terms


@dataclass(frozen=True)
class Pairs:
    """Items that were preferred to others under the same condition.

    Attributes:
        chosen: `[N,...]`.
        rejected: `[N,...]`.
        condition: `[N,...]` what both were made for.
    """

    chosen: Tensor
    rejected: Tensor
    condition: Tensor

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: Tensor | slice) -> Pairs:
        return Pairs(self.chosen[index], self.rejected[index], self.condition[index])


def predicted_noise(model: EpsModel, schedule: Schedule, pairs: Pairs, t: Tensor, noise: Tensor) -> Tensor:
    """What a model predicts for both items of each pair, noised alike, `[B,2,...]`: chosen, then rejected.

    Both items get the same step and the same noise. Independent draws would have the same mean gradient and much more
    variance, because most of the difference between the two errors would be theirs.

    Args:
        model: predicts the noise.
        schedule: of the model.
        pairs: B of them.
        t: `[B]` a step for each pair.
        noise: `[B,...]` noise for each pair.
    """
    chosen, rejected = (schedule.noised(items, t, noise) for items in (pairs.chosen, pairs.rejected))
    condition = torch.cat([pairs.condition, pairs.condition])
    both = model(torch.cat([chosen, rejected]), torch.cat([t, t]), condition)
    return torch.stack(both.chunk(2), 1)


def denoising_error(predicted: Tensor, noise: Tensor, *, reduce: Literal["mean", "sum"] = "mean") -> Tensor:
    r"""Squared error of the predicted noise, :math:`e = \lVert \varepsilon - \varepsilon_\theta \rVert^2`.

    Args:
        predicted: `[B,2,...]`.
        noise: `[B,...]` the noise that is in both items of a pair.
        reduce: over an item's dimensions: their mean, as the authors' code, or their sum, as their paper. The sum of d
            dimensions with beta is the mean with beta times d.

    Returns:
        `[B,2]`.
    """
    squares = (predicted - noise.unsqueeze(1)).square().flatten(2)
    return squares.mean(-1) if reduce == "mean" else squares.sum(-1)


def diffusion_dpo(policy_error: Tensor, reference_error: Tensor, *, beta: float = 300.0) -> Terms:
    r"""Diffusion-DPO: denoise the preferred item better than the reference does, and the other one worse.

    .. math::
        \mathcal L = -\log\sigma\left(-\tfrac{\beta}{2}\left[(e^w_\theta - e^l_\theta)
                     - (e^w_\text{ref} - e^l_\text{ref})\right]\right)

    The error of denoising bounds an item's negative log-likelihood, so that a fall of the error beside the reference's
    stands for a rise of the likelihood. It is :math:`\log 2` for every pair while the policy is the reference. The
    sigmoid saturates, and so the errors of rejected items do not grow without end, as in `literal_difference`.

    Args:
        policy_error: `[B,2]` error of the trained model on the chosen and the rejected item.
        reference_error: `[B,2]` the same of the frozen starting model; gets no gradient.
        beta: strength of the pull towards the reference, above 0. With errors that are means over dimensions, 10 to 500
            for small models; the authors' text-to-image models take 2000 to 5000.

    Returns:
        `[B]`, each pair with weight 1; metrics `margin` (the sigmoid's argument), `accuracy` (share above 0; a tie
        counts one half), `chosen_error`, `rejected_error`.

    Source: Wallace et al. 2023, "Diffusion model alignment using direct preference optimization" (arXiv:2311.12908),
    eq. 14 with the constant weighting of their code.
    """
    reference_error = reference_error.detach()
    difference = (policy_error - reference_error) @ policy_error.new_tensor([1.0, -1.0])
    margin = -0.5 * beta * difference
    weight = torch.ones_like(margin, requires_grad=False)
    metrics = {
        "margin": (margin.detach(), weight),
        "accuracy": (0.5 * (margin.detach().sign() + 1), weight),
        "chosen_error": (policy_error[:, 0].detach(), weight),
        "rejected_error": (policy_error[:, 1].detach(), weight),
    }
    return Terms(loss=-logsigmoid(margin), weight=weight, metrics=metrics)


def literal_difference(predicted: Tensor) -> Terms:
    r"""The difference of predicted noise energies. **Unsafe**: kept as a baseline that shows why it must not be used.

    .. math:: \mathcal L = \operatorname{mean}\left((\varepsilon^w_\theta)^2 - (\varepsilon^l_\theta)^2\right)

    Introductions give this as Diffusion-DPO. It has no target: what is small is the prediction, not its error. It has
    no reference to stay close to, and it falls without bound as the predictions on rejected items grow; training on it
    destroys the model.

    Args:
        predicted: `[B,2,...]` predicted noise of the chosen and the rejected item.

    Returns:
        `[B]`, each pair with weight 1.
    """
    energy = predicted.square().flatten(2).mean(-1)
    loss = energy[:, 0] - energy[:, 1]
    return Terms(loss=loss, weight=torch.ones_like(loss, requires_grad=False))
