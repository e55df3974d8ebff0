"""What each token is worth: Q heads over the vocabulary and a V head on a language model, and decoding by them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from accord.errors import ModelError
from accord.objectives.ilql import extracted, follow
from accord.policy.classifiers import model_file
from accord.policy.engine.head import linear_logprobs
from accord.policy.logprobs import (
    Finish,
    hidden_states,
    output_head,
    token_logprobs_and_states,
    vocabulary_size,
)
from accord.policy.rows import Rows

if TYPE_CHECKING:
    from accord.policy.policy import Policy

ACTION_VALUES = ("first_q", "second_q", "target_q", "first_q_logprob", "second_q_logprob")
"""What the heads alone can give, by its name in the vocabulary of objectives; they give `value` as well."""

POLYAK = 0.005
"""Share of the heads in each move of their targets, where none is given."""

FILE = "action_values.safetensors"
"""Where the heads stand in a model directory."""


class ValueHead(nn.Module):
    """A hidden layer twice as wide as the states, and a linear map that starts at zero: nothing is worth anything yet.

    Args:
        hidden_size: width of the states.
        outputs: how many values a state has.
    """

    def __init__(self, hidden_size: int, outputs: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(hidden_size, 2 * hidden_size)
        self.out = nn.Linear(2 * hidden_size, outputs, bias=False)
        nn.init.zeros_(self.out.weight)

    def features(self, states: Tensor) -> Tensor:
        """What the linear map reads, `[...,2H]`."""
        hidden: Tensor = self.hidden(states.to(self.hidden.weight.dtype))
        return hidden.relu()

    def forward(self, states: Tensor) -> Tensor:
        """All values, `[...,H] -> [...,outputs]`."""
        values: Tensor = self.out(self.features(states))
        return values

    def of(self, features: Tensor, tokens: Tensor) -> Tensor:
        """The values of these tokens alone, `[N,2H]` and `[N]` to `[N]` float32."""
        return (features.float() * self.out.weight[tokens].float()).sum(-1)


class ActionValues(nn.Module):
    """Two Q heads over the vocabulary and a V head, on the states from which a language model predicts.

    The Q heads differ by their hidden layers' first weights. Their targets are copies that move after them, and what
    decoding goes by.

    Args:
        hidden_size: width of the states.
        vocabulary: number of tokens.
        polyak: share of the heads in each move of their targets.
    """

    def __init__(self, hidden_size: int, vocabulary: int, *, polyak: float = POLYAK) -> None:
        super().__init__()
        self.q = nn.ModuleList(ValueHead(hidden_size, vocabulary) for _ in range(2))
        self.value = ValueHead(hidden_size, 1)
        self.targets = copy.deepcopy(self.q).requires_grad_(False)
        self.polyak = polyak

    @classmethod
    def on(cls, model: Any, source: str, *, polyak: float, seed: int) -> ActionValues:
        """Heads for a model: those saved beside its weights if there are any, new ones otherwise."""
        heads = cls.saved(model, source)
        if heads is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                heads = cls(int(model.config.get_text_config().hidden_size), vocabulary_size(model))
        heads.polyak = polyak
        return heads

    @classmethod
    def saved(cls, model: Any, source: str) -> ActionValues | None:
        """The heads in a model directory or at a hub id; `None` if there are none.

        Raises:
            ModelError: they are those of another model.
        """
        path = model_file(source, FILE)
        if path is None:
            return None
        heads = cls(int(model.config.get_text_config().hidden_size), vocabulary_size(model))
        try:
            heads.load_state_dict(load_file(path))
        except RuntimeError as error:
            mend = f"Delete {FILE}, or train with accord train ilql again."
            raise ModelError("its heads of action values do not fit the model", where=str(path), mend=mend) from error
        return heads

    def save(self, directory: Path) -> None:
        """Write the heads beside a model's weights."""
        weights = {name: tensor.detach().contiguous().cpu() for name, tensor in self.state_dict().items()}
        save_file(weights, directory / FILE)

    def trainable(self) -> dict[str, nn.Parameter]:
        """The heads' parameters by a stable name; not those of the targets."""
        return {f"action_values.{name}": p for name, p in self.named_parameters() if p.requires_grad}

    def named(self) -> dict[str, nn.Parameter]:
        """The targets' parameters by the names they have in a checkpoint."""
        return {f"action_values.targets.{name}": parameter for name, parameter in self.targets.named_parameters()}

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Move the targets, after every step."""
        for target, head in zip(self.targets.parameters(), self.q.parameters(), strict=True):
            target.copy_(follow(target, head, polyak=self.polyak))

    def estimates(self, model: nn.Module, rows: Rows, finish: Finish) -> dict[str, Tensor]:
        """The policy's log-probs and all the heads' estimates of the trained tokens, from one pass, `[B,n,T]` float32.

        Only the values of the tokens that were taken are made, and the softmax tile by tile: never `[N,V]`.
        """
        if not len(rows.target):
            return {name: torch.zeros_like(rows.mask) for name in ("policy", "value", *ACTION_VALUES)}
        logprobs, states = token_logprobs_and_states(model, rows, finish)
        found = {"policy": logprobs, "value": rows.fold(self.value(states).squeeze(-1).float())}
        for name, head in zip(("first_q", "second_q"), self._heads(self.q), strict=True):
            features = head.features(states)
            found[name] = rows.fold(head.of(features, rows.target))
            found[f"{name}_logprob"] = rows.fold(linear_logprobs(features, head.out.weight, rows.target))
        with torch.no_grad():
            each = [head.of(head.features(states), rows.target) for head in self._heads(self.targets)]
            found["target_q"] = rows.fold(torch.minimum(*each))
        return found

    @torch.no_grad()
    def values(self, model: nn.Module, rows: Rows) -> Tensor:
        """V before each trained token, `[B,n,T]` float32, without gradients."""
        return rows.fold(self.value(hidden_states(model, rows, rows.place)).squeeze(-1).float())

    def improved(self, logits: Tensor, states: Tensor, *, beta: float) -> Tensor:
        """Log-probabilities to decode from, `[...,V]`, from the model's logits and the states they come from."""
        q = torch.minimum(*(head(states).float() for head in self._heads(self.targets)))
        value = self.value(states).squeeze(-1).float()
        return extracted(logits.float().log_softmax(-1), q, value, beta=beta)

    @staticmethod
    def _heads(heads: nn.ModuleList) -> Iterator[ValueHead]:
        for head in heads:
            assert isinstance(head, ValueHead)
            yield head


@contextmanager
def decoding_by_worth(policy: Policy, *, beta: float) -> Iterator[None]:
    """Let a policy sample from the improved policy inside the block: the model's logits are changed at the source.

    Args:
        policy: with heads of action values, or loaded from where there are some beside the weights.
        beta: how much worth counts beside what the model would say; 0 leaves its distribution.

    Raises:
        ModelError: there are no heads.
    """
    model = policy.model
    heads = policy.action_values or ActionValues.saved(model, policy.source)
    if heads is None:
        mend = "Train one with accord train ilql, or leave --ilql-beta out."
        raise ModelError("has no heads of action values to decode by", where=policy.source, mend=mend)
    heads.to(policy.device)
    read: list[Tensor] = []

    def take(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        read[:] = arguments[:1]

    def improve(module: nn.Module, arguments: Any, output: Any) -> Any:
        output.logits = heads.improved(output.logits, read.pop(), beta=beta)
        return output

    hooks = [output_head(model).register_forward_pre_hook(take), model.register_forward_hook(improve)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
