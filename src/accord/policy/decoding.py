"""Next-token logits for a batch of growing rows: with a key-value cache where the model has one, without otherwise."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from accord.policy.cache import reserve
from accord.policy.sharding import let_go


class Decoder(Protocol):
    """A batch of rows that grow by a token at a time."""

    def start(self, prompts: Sequence[Sequence[int]], owners: Sequence[int], room: int) -> Tensor:
        """Read the prompts; row `i` continues `prompts[owners[i]]` by up to `room` tokens.

        Returns:
            Float32 logits `[len(owners),V]`.
        """
        ...

    def advance(self, tokens: Tensor) -> Tensor:
        """Append a token `[N]` to every row and return the logits that follow, `[N,V]` float32."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but these (indices `[M]`)."""
        ...


class Network:
    """A causal language model's forward pass, reduced to the last position's logits.

    Attributes:
        model: the model itself.
        device: where its inputs go.
        limit: longest sequence it takes, or `None`.
        caches: whether it returns a cache whose rows can be selected.
        pads: whether rows of different lengths can share a batch, padded on the left.
        chooses: whether it gives logits at chosen positions only.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._accepts = set(inspect.signature(base.forward).parameters)
        self.device: torch.device = next(model.parameters()).device
        longest = getattr(base.config.get_text_config(), "max_position_embeddings", None)
        self.limit = int(longest) if longest else None
        self.chooses = "logits_to_keep" in self._accepts
        _, cache = self(torch.zeros(1, 1, dtype=torch.long, device=self.device))
        layers = getattr(cache, "layers", None) or ()
        self.caches = bool(layers) and all(hasattr(layer, "reorder_cache") for layer in layers)
        # Padding would run through the state of a recurrent or convolutional layer.
        stateful = any(hasattr(layer, "conv_states") for layer in layers)
        self.pads = self.caches and not stateful and {"position_ids", "attention_mask"} <= self._accepts

    def __call__(self, ids: Tensor, **arguments: Any) -> tuple[Tensor, Any]:
        """Float32 logits of the last position `[N,V]`, and the cache if there is one."""
        if self.chooses:
            arguments["logits_to_keep"] = 1
        output = self.model(input_ids=ids, **({"use_cache": True} | arguments))
        return output.logits[:, -1].float(), getattr(output, "past_key_values", None)

    def logits_at(self, ids: Tensor, places: Tensor, **arguments: Any) -> Tensor:
        """Float32 logits `[N,P,V]` of the positions `places` `[P]`; for models that choose."""
        logits: Tensor = self.model(input_ids=ids, use_cache=True, logits_to_keep=places, **arguments).logits
        return logits.float()


class CachedDecoder:
    """Each prompt is read once, its cache shared out to its rows, and dropped rows leave the cache."""

    def __init__(self, network: Network, pad_id: int) -> None:
        self._network, self._pad_id = network, pad_id
        self._cache: Any = None
        self._mask: Tensor | None = None
        self._lengths: Tensor

    def start(self, prompts: Sequence[Sequence[int]], owners: Sequence[int], room: int) -> Tensor:
        """See `Decoder.start`."""
        device = self._network.device
        width = max(map(len, prompts))
        ids = torch.tensor([[self._pad_id] * (width - len(p)) + list(p) for p in prompts], device=device)
        lengths = torch.tensor([len(p) for p in prompts], device=device)
        self._mask = None
        if min(map(len, prompts)) < width:
            columns = torch.arange(width, device=device)
            self._mask = (columns >= (width - lengths)[:, None]).long()
        positions = None if self._mask is None else (self._mask.cumsum(1) - 1).clamp(min=0)
        logits = self._forward(ids, positions)
        rows = torch.tensor(owners, device=device)
        self._lengths = lengths
        self.keep(rows)
        reserve(self._cache, room)
        return logits[rows]

    def advance(self, tokens: Tensor) -> Tensor:
        """See `Decoder.advance`."""
        if self._mask is not None:
            self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), 1)], dim=1)
        logits = self._forward(tokens[:, None], self._lengths[:, None])
        self._lengths = self._lengths + 1
        return logits

    def keep(self, rows: Tensor) -> None:
        """See `Decoder.keep`."""
        self._cache.reorder_cache(rows)
        self._lengths = self._lengths[rows]
        if self._mask is not None:
            self._mask = self._mask[rows]

    def _forward(self, ids: Tensor, positions: Tensor | None) -> Tensor:
        arguments: dict[str, Any] = {} if self._cache is None else {"past_key_values": self._cache}
        if self._mask is not None:  # rows of one length need neither: the model counts for itself
            arguments |= {"attention_mask": self._mask, "position_ids": positions}
        logits, self._cache = self._network(ids, **arguments)
        return logits


class PlainDecoder:
    """Reads every row anew for every token; for models without a cache that can be shared. Prompts of one length."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._rows: Tensor

    def start(self, prompts: Sequence[Sequence[int]], owners: Sequence[int], room: int) -> Tensor:
        """See `Decoder.start`."""
        self._rows = torch.tensor([list(prompts[owner]) for owner in owners], device=self._network.device)
        return self._network(self._rows, use_cache=False)[0]

    def advance(self, tokens: Tensor) -> Tensor:
        """See `Decoder.advance`."""
        self._rows = torch.cat([self._rows, tokens[:, None]], dim=1)
        return self._network(self._rows, use_cache=False)[0]

    def keep(self, rows: Tensor) -> None:
        """See `Decoder.keep`."""
        self._rows = self._rows[rows]


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Evaluation mode without gradients; each module returns to the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with torch.no_grad():
            yield
    finally:
        let_go(model)
        for module, training in modes:
            module.training = training
