"""The network of group preference optimisation: from a few answered questions, what a group says to others."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from accord.objectives import Terms

_LEAST_LOG_STD = -3.0  # a share is never said to be known to better than a twentieth


class GroupPredictor(nn.Module):
    """A transformer over points, each an option of a question with the share of a group that prefers it.

    Points have no order and no positions. Every point attends to the context points only, whose shares are given; a
    target point, whose share is asked for, reaches the output through its residual path and sees no other target.

    Args:
        size: of an option's embedding.
        width: of the transformer.
        layers: of attention.
        heads: of attention.
        embedder_layers: of the perceptron that reads a point.
    """

    def __init__(
        self, size: int, *, width: int = 128, layers: int = 6, heads: int = 4, embedder_layers: int = 4
    ) -> None:
        super().__init__()
        self.centre: Tensor
        self.scale: Tensor
        self.register_buffer("centre", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))
        self.share: Tensor
        self.register_buffer("share", torch.tensor([0.0, 1.0]))
        # A layer each, or one number would be lost beside an embedding of hundreds.
        self.read_option, self.read_share = nn.Linear(size, width), nn.Linear(1, width)
        reading: list[nn.Module] = []
        for _ in range(embedder_layers - 1):
            reading += [nn.GELU(), nn.Linear(width, width)]
        self.read = nn.Sequential(*reading)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.attend = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.say = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 2))

    def standardise(self, options: tuple[Tensor, Tensor], given: tuple[Tensor, Tensor]) -> None:
        """Take mean and spread of embeddings, `[D]` each, and of shares, `[1]` each, as those of all that will come."""
        self.centre.copy_(options[0])
        self.scale.copy_(options[1])
        self.share.copy_(torch.cat(given))

    def forward(self, embedding: Tensor, preference: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Logit and log standard deviation of every point's share, each `[B,P]`.

        Args:
            embedding: `[B,P,D]` of each option.
            preference: `[B,P]` share of the group that prefers it; read at context points only.
            context: `[B,P]` whether the share is given; at least one point of each row.
        """
        option = self.read_option((embedding - self.centre) / self.scale)
        given = self.read_share(((preference - self.share[0]) / self.share[1]).unsqueeze(-1))
        points = self.read(option + given * context.unsqueeze(-1))
        logit, log_std = self.say(self.attend(points, src_key_padding_mask=~context)).unbind(-1)
        return logit, _LEAST_LOG_STD + nn.functional.softplus(log_std - _LEAST_LOG_STD)


def shares(logit: Tensor, valid: Tensor) -> Tensor:
    """Logits of each question's options `[...,K]` as shares that sum to 1 over its valid options."""
    return logit.masked_fill(~valid, -math.inf).softmax(-1).masked_fill(~valid, 0.0)


def group_likelihood(logit: Tensor, log_std: Tensor, preference: Tensor, valid: Tensor) -> Terms:
    r"""Group preference optimisation: the likelihood of a group's shares under the predicted normal distributions.

    .. math:: \mathcal L = -\log \mathcal N(y;\, \mu, \sigma), \qquad \mu = \operatorname{softmax}_\text{question}(z)

    Args:
        logit: `[...,K]` of each option of a question.
        log_std: `[...,K]`.
        preference: `[...,K]` the group's shares.
        valid: `[...,K]` whether there is such an option.

    Returns:
        A loss for each option, weighted by `valid`. The paper sums over target points, this divides by their number.

    Source: Zhao, Dang and Grover 2023, "Group preference optimization" (arXiv:2310.11523), eq. 2.
    """
    deviations = (preference - shares(logit, valid)) / log_std.exp()
    loss = 0.5 * deviations.square() + log_std + 0.5 * math.log(2 * math.pi)
    return Terms(loss=loss, weight=valid.to(loss))
