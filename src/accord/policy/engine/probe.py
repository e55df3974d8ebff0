"""Whether a model gives the same log-probs and gradients when responses share their prompt: tried, not looked up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from accord.policy.engine.attention import Trace, UnsupportedAttentionError, traced
from accord.policy.logprobs import Finish, token_logprobs
from accord.policy.rows import Rows, padded_rows, shared_row
from accord.record import Encoded, EncodedResponse

_TOLERANCE = {torch.float32: (1e-4, 1e-3), torch.bfloat16: (5e-2, 1e-1)}
"""Largest difference of a log-prob, as a share of the largest log-prob, and of the gradient, as a share of its norm."""


@dataclass(frozen=True)
class Engine:
    """How a policy's batches go through its model.

    Attributes:
        shares: whether responses share their prompt in one row; otherwise each has a padded row of its own.
        note: the same in words, with the reason.
        limit: longest sequence for which sharing is exact; `None` if any.
    """

    shares: bool = False
    note: str = "a padded row for each response"
    limit: int | None = None

    def shares_up_to(self, longest: int) -> bool:
        """Whether prompts are shared in a batch whose longest sequence has this many tokens."""
        return self.shares and (self.limit is None or longest <= self.limit)


PADDED = Engine()
"""What works for every model."""


def find_engine(model: Any, finish: Finish) -> Engine:
    """The fastest way through a model that is exact, by trying it on one batch.

    A model shares prompts if all of its layers are attention that asks for nothing a shared row cannot give, and if
    log-probs and gradients then equal those of separate rows.

    Args:
        model: a transformers causal LM in evaluation mode.
        finish: what it does to its head's output.
    """
    try:
        with traced() as trace:
            shared = _outcome(model, finish, shared_row(_BATCH, device=_device(model)))
    except UnsupportedAttentionError as error:
        return _separate(str(error))
    except Exception as error:  # whatever an architecture raises, it only means that it cannot share
        reason = str(error).partition("\n")[0][:120] or type(error).__name__
        return _separate(f"it cannot read a shared row ({reason})")
    layers = int(model.config.get_text_config().num_hidden_layers)
    if trace.calls != layers:
        return _separate(f"its {layers} layers call ordinary attention {trace.calls} times")
    separate = _outcome(model, finish, padded_rows(_BATCH, device=_device(model)))
    if not _agree(shared, separate, next(model.parameters()).dtype):
        return _separate("sharing prompts would change this architecture's results")
    limit = _limit(trace)
    note = "each prompt once, shared by its responses"
    return Engine(True, note if limit is None else f"{note}; above {limit} tokens {Engine.note}", limit)


def _separate(reason: str) -> Engine:
    return Engine(note=f"{Engine.note}: {reason}")


def _limit(trace: Trace) -> int | None:
    """The reach of local masks that layers do not name themselves, such as chunks: shorter sequences see all anyway."""
    unexplained = trace.windows ^ trace.local_sizes
    return min((size for size in unexplained if size), default=None)


def _group(first: int, prompt: int, *responses: int) -> Encoded:
    """A Group of consecutive token ids."""
    begin, made = first + prompt, []
    for length in responses:
        made.append(EncodedResponse(tuple(range(begin, begin + length)), (True,) * length))
        begin += length
    return Encoded(tuple(range(first, first + prompt)), tuple(made))


_BATCH = (_group(3, 7, 5, 1, 3), _group(19, 1, 4, 2))
"""Every token id occurs once, so that gradients of the two layouts can be compared by id."""

_IDS = 1 + max(token for group in _BATCH for response in group.responses for token in response.tokens)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _outcome(model: Any, finish: Finish, rows: Rows) -> tuple[Tensor, Tensor]:
    """Log-probs of the probe's batch, and the gradient of a mixture of them by embedded token id, `[ids,H]`.

    Every layer's backward pass is on the way to the embeddings, and no gradient of the size of the weights is made.
    """
    embedded: list[Tensor] = []

    def take(module: nn.Module, arguments: Any, output: Tensor) -> Tensor:
        embedded.append(output.detach().requires_grad_())
        return embedded[-1]

    handle = model.get_input_embeddings().register_forward_hook(take)
    try:
        with torch.enable_grad():
            values = rows.unfold(token_logprobs(model, rows, finish))
            mixture = (values * torch.cos(rows.target.float())).sum()
            gradient = torch.autograd.grad(mixture, embedded[0])[0].float().flatten(0, -2)
    finally:
        handle.remove()
    by_id = gradient.new_zeros(_IDS, gradient.shape[-1])
    return values.detach(), by_id.index_add(0, rows.input_ids.flatten(), gradient)


def _agree(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor], dtype: torch.dtype) -> bool:
    of_values, of_gradients = _TOLERANCE.get(dtype, _TOLERANCE[torch.bfloat16])
    values = float((one[0] - other[0]).abs().max() / other[0].abs().max())
    gradients = float((one[1] - other[1]).norm() / other[1].norm())
    return values <= of_values and gradients <= of_gradients
