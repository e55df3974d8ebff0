"""Log-probabilities of response tokens, with gradients: the call behind training, reference scoring and judging.

The output at position `t` scores token `t + 1`. Only positions that predict a trained token meet the LM head, piece by
piece, so that no `[B,T,V]` tensor exists; statistics are taken in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from accord.errors import ModelError
from accord.policy.engine.attention import shared_prompts
from accord.policy.engine.cached import cached_states
from accord.policy.engine.head import KEEP_BYTES, linear_logprobs, linear_logprobs_and_entropies
from accord.policy.engine.last_layer import Asked
from accord.policy.engine.products import is_product
from accord.policy.engine.tied import one_gradient
from accord.policy.rows import Rows

CHUNK_BYTES = 64 * 2**20
"""Logits of one chunk, in float32, for heads that are more than a matrix."""


@dataclass(frozen=True)
class Finish:
    """What a model does to its head's output: `z -> scale * z`, then soft-capping `z -> cap * tanh(z / cap)`."""

    scale: float = 1.0
    cap: float | None = None

    def __call__(self, logits: Tensor) -> Tensor:
        """The model's logits."""
        scaled = logits * self.scale if self.scale != 1.0 else logits
        return scaled if self.cap is None else self.cap * torch.tanh(scaled / self.cap)

    def at(self, temperature: float) -> Callable[[Tensor], Tensor]:
        """The same, in float32 and divided by a temperature."""
        return lambda logits: self(logits).float() / temperature


def hidden_states(model: nn.Module, rows: Rows, at: Tensor) -> Tensor:
    """The input of the LM head at some of the rows' flat positions: at `[N]` places, `[N,H]`."""
    layout = rows.layout
    if layout is None:
        return _head_input(model, input_ids=rows.input_ids, use_cache=False)[0].flatten(0, 1)[at]
    if layout.by == "attention":
        asked = Asked.of(layout.segments, at) if layout.asked_only else None
        with shared_prompts(model, layout, asked):
            inputs = {"input_ids": rows.input_ids, "position_ids": layout.position_ids}
            states = _head_input(model, **inputs, use_cache=False)[0].flatten(0, 1)
        return states[at if asked is None else asked.place]

    def read(ids: Tensor, cache: Any) -> tuple[Tensor, Any]:
        states, output = _head_input(model, input_ids=ids, past_key_values=cache, use_cache=True)
        return states, output.past_key_values

    return cached_states(read, rows.input_ids[0], layout)[at]


def _head_input(model: nn.Module, **inputs: Any) -> tuple[Tensor, Any]:
    """The input of the LM head in a forward pass, `[R,L,H]`, and the model's output.

    The model's own forward pass runs, whatever its architecture; a hook on the head takes what it is given and leaves
    it no position to project, so that the head costs nothing.
    """
    captured: list[Tensor] = []

    def take(module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        captured.append(arguments[0])
        return (arguments[0][:, :0], *arguments[1:])

    handle = output_head(model).register_forward_pre_hook(take)
    try:
        output = model(**inputs)
    finally:
        handle.remove()
    if len(captured) != 1:
        raise ModelError(f"its LM head ran {len(captured)} times in one forward pass, once is expected")
    return captured[0], output


def output_head(model: nn.Module) -> nn.Module:
    """The LM head of a causal language model (perhaps wrapped by adapters)."""
    find: Any = getattr(model, "get_output_embeddings", None)
    head = find() if find is not None else None
    if not isinstance(head, nn.Module):
        raise ModelError("has no LM head", mend="Give a causal language model.")
    return head


def vocabulary_size(model: nn.Module) -> int:
    """Number of logits the LM head gives."""
    weight: Any = output_head(model).weight
    return int(weight.shape[0])


def token_logprobs(model: nn.Module, rows: Rows, finish: Finish, *, temperature: float = 1.0) -> Tensor:
    """Log-probability of each trained token, `[B,n,T]` in float32, zero where the mask is zero.

    Args:
        model: a causal language model.
        rows: the Groups, laid out.
        finish: what the model does to the head's output (soft-capping, scaling), from `find_finish`.
        temperature: divides the logits; 1 is the model's own distribution.
    """
    if not len(rows.target):
        return torch.zeros_like(rows.mask)
    return token_logprobs_and_states(model, rows, finish, temperature=temperature)[0]


def token_logprobs_and_states(
    model: nn.Module, rows: Rows, finish: Finish, *, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """What `token_logprobs` gives, and the states `[N,H]` from which the trained tokens are predicted."""
    states, head = _predicting(model, rows)
    return rows.fold(_chosen_logprobs(head, states, rows.target, finish, temperature)), states


def token_logprobs_and_collisions(
    model: nn.Module, rows: Rows, finish: Finish, *, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """What `token_logprobs` gives, and in the same shape the log of the sum of squared probabilities at each token.

    Only the log-probabilities carry gradients.
    """
    if not len(rows.target):
        return torch.zeros_like(rows.mask), torch.zeros_like(rows.mask)
    states, head = _predicting(model, rows)
    with torch.no_grad():
        (collisions,) = _chunked(head.module, states, rows.target, finish.at(temperature), _collision)
    return rows.fold(_chosen_logprobs(head, states, rows.target, finish, temperature)), rows.fold(collisions)


def token_logprobs_and_peaks(model: nn.Module, rows: Rows, finish: Finish) -> tuple[Tensor, Tensor]:
    """Log-probabilities as of `token_logprobs`, and in the same shape that of the likeliest token; no gradients.

    A token that is the likeliest has both alike, to the last bit.
    """
    if not len(rows.target):
        return torch.zeros_like(rows.mask), torch.zeros_like(rows.mask)
    with torch.no_grad():
        states, head = _predicting(model, rows)
        values, peaks = _chunked(head.module, states, rows.target, finish.at(1.0), _chosen_and_peak)
    return rows.fold(values), rows.fold(peaks)


def token_logprobs_and_entropies(
    model: nn.Module, rows: Rows, finish: Finish, *, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """What `token_logprobs` gives, and in the same shape the entropy in nats of each token's distribution."""
    if not len(rows.target):
        return torch.zeros_like(rows.mask), torch.zeros_like(rows.mask)
    states, head = _predicting(model, rows)
    scale = finish.scale / temperature
    if finish.cap is None and head.weight is not None:
        computed = _in_compute_dtype(states)
        values, entropies = linear_logprobs_and_entropies(computed, head.weight, rows.target, scale=scale)
    else:
        values, entropies = _chunked(head.module, states, rows.target, finish.at(temperature), _chosen_and_entropy)
    return rows.fold(values), rows.fold(entropies)


@dataclass(frozen=True)
class _Head:
    """An LM head, and the weight to read in its stead where calling it is nothing but a product with that."""

    module: nn.Module
    weight: Tensor | None


def _predicting(model: nn.Module, rows: Rows) -> tuple[Tensor, _Head]:
    """The states `[N,H]` that predict the trained tokens, and the head that is to read them."""
    head = output_head(model)
    if not is_product(head):
        return hidden_states(model, rows, rows.place), _Head(head, None)
    with one_gradient(model, head) as tied:
        states = hidden_states(model, rows, rows.place)
    weight: Any = head.weight if tied is None else tied
    return states, _Head(head, weight)


def _chosen_logprobs(head: _Head, states: Tensor, target: Tensor, finish: Finish, temperature: float) -> Tensor:
    """Log-probabilities `[N]` of the targets, with gradients, by the way that is cheapest for this head."""
    if finish.cap is None and head.weight is not None:
        return linear_logprobs(_in_compute_dtype(states), head.weight, target, scale=finish.scale / temperature)
    (values,) = _chunked(head.module, states, target, finish.at(temperature), _chosen)
    return values


def _in_compute_dtype(states: Tensor) -> Tensor:
    """The states in the precision in which autocast multiplies."""
    device = states.device.type
    return states.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else states


def _chosen(logits: Tensor, target: Tensor) -> tuple[Tensor]:
    return (logits.gather(-1, target[:, None]).squeeze(-1) - logits.logsumexp(-1),)


def _chosen_and_entropy(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    logprobs = torch.log_softmax(logits, -1)
    return logprobs.gather(-1, target[:, None]).squeeze(-1), -(logprobs.exp() * logprobs).sum(-1)


def _chosen_and_peak(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    logprobs = logits.log_softmax(-1)
    return logprobs.gather(-1, target[:, None]).squeeze(-1), logprobs.amax(-1)


def _collision(logits: Tensor, target: Tensor) -> tuple[Tensor]:
    return ((2.0 * logits).logsumexp(-1) - 2.0 * logits.logsumexp(-1),)


def _chunked(
    head: nn.Module,
    selected: Tensor,
    target: Tensor,
    finished: Callable[[Tensor], Tensor],
    statistics: Callable[[Tensor, Tensor], tuple[Tensor, ...]],
) -> tuple[Tensor, ...]:
    """Statistics `[N]` of any head's finished logits, a chunk of positions at a time."""
    weight: Any = head.weight

    def part(states: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        return statistics(finished(head(states)), targets)

    return in_chunks(part, selected, target, position_bytes=4 * int(weight.shape[0]))


def in_chunks(
    part: Callable[[Tensor, Tensor], tuple[Tensor, ...]], one: Tensor, other: Tensor, *, position_bytes: int
) -> tuple[Tensor, ...]:
    """A function of two aligned tensors `[N,...]`, a chunk of positions at a time; recomputed backward if many.

    Args:
        part: its result for a chunk of both, `[n]` each.
        one: `[N,...]`.
        other: `[N,...]`.
        position_bytes: memory that the function takes for a position.
    """
    chunk = max(1, CHUNK_BYTES // position_bytes)
    recompute = torch.is_grad_enabled() and position_bytes * len(one) > KEEP_BYTES
    parts = []
    for first, second in zip(torch.split(one, chunk), torch.split(other, chunk), strict=True):
        parts.append(checkpoint(part, first, second, use_reentrant=False) if recompute else part(first, second))
    return tuple(torch.cat(of_chunks) for of_chunks in zip(*parts, strict=True))


def find_finish(model: nn.Module) -> Finish:
    """How the model turns its head's output into logits, found in its configuration and checked by a probe.

    Raises:
        ModelError: none of the known forms reproduces the model's own logits.
    """
    config: Any = getattr(model, "config", None)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    forms = [Finish()]
    for name in ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap"):
        cap = getattr(text, name, None)
        if cap:
            forms.append(Finish(cap=float(cap)))
    for name, invert in (("logit_scale", False), ("logits_scaling", True), ("lm_head_multiplier", False)):
        factor = getattr(text, name, None)
        if factor:
            forms.append(Finish(scale=1.0 / factor if invert else float(factor)))
    raw, logits = _probe(model)
    scale = max(1.0, float(logits.abs().max()))
    for form in forms:
        if float((form(raw).float() - logits.float()).abs().max()) <= 1e-3 * scale:
            return form
    raise ModelError(
        f"{type(model).__name__} changes its logits after the LM head in a way Accord does not know",
        mend="Report the architecture, so that its form can be added.",
    )


@torch.no_grad()
def _probe(model: nn.Module) -> tuple[Tensor, Tensor]:
    """The head's output and the model's logits on three tokens."""
    captured: list[Tensor] = []
    head = output_head(model)
    device = next(model.parameters()).device
    handle = head.register_forward_hook(lambda module, arguments, output: captured.append(output.clone()))
    training = model.training
    model.eval()
    try:
        logits = model(input_ids=torch.tensor([[1, 2, 3]], device=device), use_cache=False).logits
    finally:
        handle.remove()
        model.train(training)
    return captured[-1], logits
