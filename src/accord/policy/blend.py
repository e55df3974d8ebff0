"""Several language models that sample as one: each token is drawn from a mixture of their distributions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from accord.errors import ModelError
from accord.objectives.policy_gradient.mixture import Mixing, mixture
from accord.policy.decoding import Decoder, Network
from accord.policy.logprobs import vocabulary_size
from accord.policy.policy import Policy


class Blend(nn.Module):
    r"""Models that share a vocabulary; it stands where a model stands in sampling, and is not trained.

    .. math:: \mu = \sum_i w_i p_i \quad\text{or}\quad \mu \propto \prod_i p_i^{w_i}

    of the next-token distributions :math:`p_i` at the sampling temperature. Each model keeps a cache of its own. A
    model of weight 0 is not asked at all, so that the others' answers are those they give without it.

    Args:
        models: transformers causal LMs, perhaps wrapped by peft.
        weights: a share for each, at least 0, summing to 1.
        mixing: `arithmetic` says what any of them would, `geometric` what none of them objects to.

    Raises:
        ModelError: the models predict different numbers of tokens.
        ValueError: the shares are not those of a mixture of these models.
    """

    def __init__(self, models: Sequence[Any], weights: Sequence[float], mixing: Mixing = "arithmetic") -> None:
        super().__init__()
        if len(weights) != len(models) or min(weights) < 0 or abs(sum(weights) - 1) > 1e-6:
            raise ValueError(f"{tuple(weights)} are no shares of {len(models)} models")
        sizes = sorted({vocabulary_size(model) for model in models})
        if len(sizes) > 1:
            raise ModelError(
                f"models that predict {' and '.join(map(str, sizes))} tokens cannot be mixed",
                mend="Mix models that share a tokenizer.",
            )
        self.models, self.weights, self.mixing = nn.ModuleList(models), tuple(weights), mixing


def acting_as_one(
    policies: Sequence[Policy], weights: Sequence[float], mixing: Mixing = "arithmetic", *, like: Policy
) -> Policy:
    """A policy that samples from the mixture of several, and in all else is `like`.

    Raises:
        ModelError: the policies do not share a vocabulary.
    """
    for policy in policies:
        require_same_vocabulary(like, policy)
    return replace(like, model=Blend([policy.model for policy in policies], weights, mixing))


def require_same_vocabulary(policy: Policy, other: Policy, *, mend: str = "Use models that share a tokenizer.") -> None:
    """Refuse to compare distributions over different tokens.

    Raises:
        ModelError: the tokenizers give different ids, or the models predict different numbers of tokens.
    """
    own, theirs = policy.tokenizer.get_vocab(), other.tokenizer.get_vocab()
    if own != theirs:
        token = min(own.items() ^ theirs.items())[0]
        what = f"its tokens are not those of {policy.source} ({token!r} has another id or none)"
        raise ModelError(what, where=other.source, mend=mend)
    sizes = vocabulary_size(policy.model), vocabulary_size(other.model)
    if len(set(sizes)) > 1:
        what = f"it predicts {sizes[1]} tokens and {policy.source} predicts {sizes[0]}"
        raise ModelError(what, where=other.source, mend=mend)


@dataclass(frozen=True)
class Networks:
    """The forward passes of the models of a blend that have a say.

    Attributes:
        each: one a model.
        weights: their shares.
        mixing: how they are mixed.
    """

    each: tuple[Network, ...]
    weights: tuple[float, ...]
    mixing: Mixing

    @property
    def device(self) -> torch.device:
        """Where tokens are drawn."""
        return self.each[0].device

    @cached_property
    def limit(self) -> int | None:
        """Longest sequence that all of them take, or `None`."""
        return min((one.limit for one in self.each if one.limit is not None), default=None)

    @cached_property
    def pads(self) -> bool:
        """Whether rows of different lengths can share a batch."""
        return all(one.pads for one in self.each)


def networks_of(model: Any) -> Network | Networks:
    """The forward pass of a model, or those of a blend; of a blend in which one has all the say, its own."""
    if not isinstance(model, Blend):
        return Network(model)
    heard = [(Network(one), weight) for one, weight in zip(model.models, model.weights, strict=True) if weight > 0]
    if len(heard) == 1:
        return heard[0][0]
    return Networks(tuple(one for one, _ in heard), tuple(weight for _, weight in heard), model.mixing)


class MixtureDecoder:
    """Decoders that read the same tokens; what they give is the log-probabilities of the mixture, in place of logits.

    Args:
        decoders: one a model.
        networks: the models' shares, and how they are mixed.
        temperature: divides each model's logits before they are mixed.
    """

    def __init__(self, decoders: Sequence[Decoder], networks: Networks, *, temperature: float) -> None:
        self._decoders, self._networks, self._temperature = decoders, networks, temperature

    def start(self, prompts: Sequence[Sequence[int]], owners: Sequence[int], room: int) -> Tensor:
        """See `Decoder.start`."""
        return self._mixed([decoder.start(prompts, owners, room) for decoder in self._decoders])

    def advance(self, tokens: Tensor) -> Tensor:
        """See `Decoder.advance`."""
        return self._mixed([decoder.advance(tokens) for decoder in self._decoders])

    def keep(self, rows: Tensor) -> None:
        """See `Decoder.keep`."""
        for decoder in self._decoders:
            decoder.keep(rows)

    def _mixed(self, logits: Sequence[Tensor]) -> Tensor:
        device = self._networks.device
        logprobs = torch.stack([(one.to(device) / self._temperature).log_softmax(-1) for one in logits])
        weights = logprobs.new_tensor(self._networks.weights)
        return mixture(logprobs, weights, mixing=self._networks.mixing)
