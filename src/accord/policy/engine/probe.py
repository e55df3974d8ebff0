"""The fastest way through a model that is exact in log-probs and gradients: tried, not looked up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from accord.errors import ModelError
from accord.policy.engine.attention import Trace, UnsupportedAttentionError, traced
from accord.policy.engine.block_mask import BLOCK
from accord.policy.engine.cached import observed_windows
from accord.policy.layout import Attention, Reading
from accord.policy.logprobs import Finish, token_logprobs
from accord.policy.rows import Rows, longest_row, padded_rows, shared_row
from accord.policy.sharding import is_sharded
from accord.record import Encoded, EncodedResponse

_TOLERANCE = {torch.float32: (1e-4, 1e-3), torch.bfloat16: (5e-2, 1e-1)}
"""Largest difference of a log-prob, as a share of the largest log-prob, and of the gradient, as a share of its norm."""

_PROBED_WINDOW = 256
"""Longest memory of a cache that the probe reads past, in tokens; a longer one limits the sequences instead."""


@dataclass(frozen=True)
class Engine:
    """How a policy's batches go through its model.

    Attributes:
        reading: how a row is read in which responses share their prompt; `None`: each has a padded row of its own.
        note: the same in words, with the reason.
        limit: longest sequence for which sharing is exact; `None` if any.
        attention: how the attention of a row that is read at once is computed.
        asked_only: whether the last layer then computes only what is asked for.
    """

    reading: Reading | None = None
    note: str = "a padded row for each response"
    limit: int | None = None
    attention: Attention = "parts"
    asked_only: bool = False

    def reading_up_to(self, longest: int) -> Reading | None:
        """How a batch is read whose longest sequence has this many tokens."""
        return self.reading if self.limit is None or longest <= self.limit else None


PADDED = Engine()
"""What works for every model."""


class _InexactError(Exception):
    """A way through a model does not give its results."""


def find_engine(model: Any, finish: Finish) -> Engine:
    """The fastest way through a model that is exact, by trying each on one batch.

    Prompts are shared at once where all layers are attention that asks for nothing a shared row cannot give, else by
    the model's key-value cache; either way only if log-probs and gradients equal those of separate rows. At once means
    under a block mask where that works (it needs an accelerator and a compiler for it), else in parts.

    Args:
        model: a transformers causal LM in evaluation mode.
        finish: what it does to its head's output.

    Raises:
        ModelError: the model cannot read a batch, or what it says of a token depends on what follows it.
    """
    try:
        padded = _tried(model, finish, padded_rows(_BATCH, device=_device(model)), "it cannot read a batch")
    except _InexactError as error:
        raise ModelError(f"{type(model).__name__} does not run as a causal language model: {error}") from error
    if not _agree(padded, _separate(model, finish, _BATCH)):
        raise ModelError(
            f"{type(model).__name__} gives other results if something follows: it is not causal as it is configured",
            mend="Give a causal language model; an encoder is one only if its configuration makes it a decoder.",
        )
    shared = "each prompt once, shared by its responses"
    reasons: list[str] = []
    for attention in _attentions(_device(model)):
        try:
            limit = _by_attention(model, finish, attention)
            note = f"{_limited(shared, limit)}{_because(reasons, ', without a block mask: ')}"
            return Engine("attention", note, limit, attention, _asked_only(model, finish, attention))
        except _InexactError as error:
            reasons.append(str(error))
    try:
        limit = _by_cache(model, finish)
        return Engine("cache", f"{_limited(f'{shared} in a cache', limit)}{_because(reasons, ': ')}", limit)
    except _InexactError as error:
        return Engine(note=f"{Engine.note}{_because([*reasons, str(error)], ': ')}")


def _attentions(device: torch.device) -> tuple[Attention, ...]:
    """How the attention of a row that is read at once may be computed, the fastest first."""
    return ("parts",) if device.type == "cpu" else ("blocks", "parts")


def _because(reasons: list[str], introduced: str) -> str:
    """The reasons why nothing faster was chosen, each once."""
    return introduced + ", and ".join(dict.fromkeys(reasons)) if reasons else ""


def _limited(note: str, limit: int | None) -> str:
    return note if limit is None else f"{note}; above {limit} tokens {Engine.note}"


def _by_attention(model: Any, finish: Finish, attention: Attention) -> int | None:
    """The longest sequence up to which a row may be read at once (`None`: any).

    Raises:
        _InexactError: with the reason, if it may not.
    """
    limit = _limit(_try_attention(model, finish, _BATCH, attention))
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if attention == "blocks" and min(limit or _LONGEST, positions or _LONGEST) >= _LONGEST:
        _try_attention(model, finish, _MANY_BLOCKS, attention)
    return limit


def _asked_only(model: Any, finish: Finish, attention: Attention) -> bool:
    """Whether the last layer may compute only what is asked for of a row that is read at once."""
    if attention != "parts":  # under a block mask there are as many queries as keys
        return False
    try:
        _try_attention(model, finish, _BATCH, attention, asked_only=True)
    except _InexactError:
        return False
    return True


def _try_attention(
    model: Any, finish: Finish, batch: tuple[Encoded, ...], attention: Attention, *, asked_only: bool = False
) -> Trace:
    """What layers asked for when a batch was read at once, if that was exact."""
    rows = shared_row(batch, attention=attention, asked_only=asked_only, device=_device(model))
    with traced() as trace:
        shared = _tried(model, finish, rows, "it cannot read a shared row")
    layers = int(model.config.get_text_config().num_hidden_layers)
    if trace.calls != layers:
        raise _InexactError(f"its {layers} layers call ordinary attention {trace.calls} times")
    if not _agree(shared, _separate(model, finish, batch)):
        raise _InexactError("reading all at once would change this architecture's results")
    return trace


def _by_cache(model: Any, finish: Finish) -> int | None:
    """The longest sequence up to which a row may be read by the model's cache (`None`: any).

    Raises:
        _InexactError: with the reason, if it may not.
    """
    if is_sharded(model):
        raise _InexactError("sharded weights need as many passes in every process")
    if any(getattr(module, "gradient_checkpointing", False) for module in model.modules()):
        raise _InexactError("activation checkpointing keeps no cache")
    with observed_windows() as windows:
        _try_cache(model, finish, _BATCH)
    probed = [window for window in windows if window <= _PROBED_WINDOW]
    if probed:  # a prompt that does not fit into the window, and a response that does not fit beside it
        _try_cache(model, finish, (_group(3, max(probed) + 3, max(probed), 2),))
    return min(windows - set(probed), default=None)


def _try_cache(model: Any, finish: Finish, batch: tuple[Encoded, ...]) -> None:
    cached = _tried(model, finish, shared_row(batch, by="cache", device=_device(model)), "its cache cannot be shared")
    if not _agree(cached, _separate(model, finish, batch)):
        raise _InexactError("a shared cache would change its results")


def _separate(model: Any, finish: Finish, batch: tuple[Encoded, ...]) -> _Outcome:
    """What a forward pass for each response gives."""
    alone = [Encoded(one.prompt, (response,)) for one in batch for response in one.responses]
    outcomes = [_outcome(model, finish, padded_rows([one], device=_device(model))) for one in alone]
    return _Outcome(
        torch.cat([one.values for one in outcomes]),
        torch.stack([one.gradient for one in outcomes]).sum(0),
        outcomes[0].dtype,
    )


def _tried(model: Any, finish: Finish, rows: Rows, failure: str) -> _Outcome:
    try:
        return _outcome(model, finish, rows)
    except UnsupportedAttentionError as error:
        raise _InexactError(str(error)) from error
    except Exception as error:  # whatever an architecture raises, it only means that it cannot share
        reason = str(error).partition("\n")[0][:120] or type(error).__name__
        raise _InexactError(f"{failure} ({reason})") from error


def _limit(trace: Trace) -> int | None:
    """The reach of local masks that layers do not name themselves, such as chunks: shorter sequences see all anyway."""
    unexplained = trace.windows ^ trace.local_sizes
    return min((size for size in unexplained if size), default=None)


_DIFFERENT = 23
"""Token ids of the probe, from 3 on: there are as many in every vocabulary."""


def _group(first: int, prompt: int, *responses: int) -> Encoded:
    """A Group of consecutive token ids, again from the first where there are too many."""
    ids = [3 + (first - 3 + index) % _DIFFERENT for index in range(prompt + sum(responses))]
    begin, made = prompt, []
    for length in responses:
        made.append(EncodedResponse(tuple(ids[begin : begin + length]), (True,) * length))
        begin += length
    return Encoded(tuple(ids[:prompt]), tuple(made))


_BATCH = (_group(3, 7, 5, 1, 3), _group(19, 1, 4, 2))
"""Every token id occurs once, so that gradients of the two layouts can be compared by id."""

_MANY_BLOCKS = (_group(3, 2 * BLOCK + 24, BLOCK - 8, 9), _group(7, BLOCK + 22, 6))
"""Sees whole blocks, parts of blocks, and nothing of some."""

_LONGEST = max(map(longest_row, _MANY_BLOCKS))


def _precision(model: nn.Module) -> torch.dtype:
    device = _device(model).type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else next(model.parameters()).dtype


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


class _Outcome(NamedTuple):
    """Log-probs `[N]`, the gradient of a mixture of them by embedded token id `[ids,H]`, and the model's precision."""

    values: Tensor
    gradient: Tensor
    dtype: torch.dtype


def _outcome(model: Any, finish: Finish, rows: Rows) -> _Outcome:
    """What rows of the probe's batch give.

    Every layer's backward pass is on the way to the embeddings, and no gradient of the size of the weights is made.
    """
    embedded: list[Tensor] = []
    ids: list[Tensor] = []

    def take(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
        ids.append(arguments[0])
        embedded.append(output.detach().requires_grad_())
        return embedded[-1].clone()  # some models scale it in place

    handle = model.get_input_embeddings().register_forward_hook(take)
    try:
        with torch.enable_grad():
            values = rows.unfold(token_logprobs(model, rows, finish))
            mixture = (values * torch.cos(rows.target.float())).sum()
            gradients = torch.autograd.grad(mixture, embedded, materialize_grads=True)
    finally:
        handle.remove()
    by_id = gradients[0].new_zeros(3 + _DIFFERENT, gradients[0].shape[-1], dtype=torch.float32)
    for read, gradient in zip(ids, gradients, strict=True):
        by_id.index_add_(0, read.flatten(), gradient.float().flatten(0, -2))
    return _Outcome(values.detach(), by_id, _precision(model))


def _agree(one: _Outcome, other: _Outcome) -> bool:
    of_values, of_gradients = _TOLERANCE.get(one.dtype, _TOLERANCE[torch.bfloat16])
    values = float((one.values - other.values).abs().max() / other.values.abs().max())
    gradients = float((one.gradient - other.gradient).norm() / other.gradient.norm())
    return values <= of_values and gradients <= of_gradients
