"""The policy: a language model with its tokenizer, ready to score, sample and train; and its export."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from accord.errors import ModelError
from accord.policy.action_values import ActionValues
from accord.policy.chat import Renderer
from accord.policy.classifiers import tokenizer_of_classifier
from accord.policy.divergences import Measure, Side, token_divergences
from accord.policy.engine.probe import PADDED, Engine
from accord.policy.fingerprint import weights_fingerprint
from accord.policy.heads import Head, RewardHead, StepHead, save_reward_model
from accord.policy.logprobs import (
    Finish,
    hidden_states,
    token_logprobs,
    token_logprobs_and_collisions,
    token_logprobs_and_entropies,
    token_logprobs_and_peaks,
    vocabulary_size,
)
from accord.policy.rows import Rows, longest_row, padded_rows, shared_row
from accord.policy.sharding import gathered, held, is_first, is_sharded, let_go
from accord.record import Encoded

Dtype = Literal["fp32", "bf16"]
OwnPast = Callable[[], AbstractContextManager[Any]]
"""A context in which a policy has weights that it had before."""


@dataclass
class Policy:
    """A language model with its tokenizer, ready to score, sample and train.

    Attributes:
        model: a transformers causal LM, wrapped by peft under LoRA.
        tokenizer: its tokenizer.
        renderer: turns Groups into token ids.
        source: the directory or hub id it was loaded from.
        dtype: bf16 computes under autocast; what is trained stays in float32.
        finish: what the model does to its LM head's output.
        reward_head: for reward models, of whole responses or of their steps.
        action_values: heads that say what each token is worth, for offline reinforcement learning.
        engine: how batches are laid out.
        skeleton: the policy without weights, in the first process where they are sharded.
    """

    model: Any
    tokenizer: Any
    renderer: Renderer
    source: str
    dtype: Dtype
    finish: Finish
    reward_head: Head | None = None
    action_values: ActionValues | None = None
    engine: Engine = PADDED
    version: str = "start"
    skeleton: Policy | None = field(default=None, repr=False)
    _fingerprint: str | None = field(default=None, repr=False)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    def adapted(self) -> bool:
        """Whether LoRA adapters are attached."""
        return hasattr(self.model, "disable_adapter")

    @property
    def max_positions(self) -> int | None:
        """Longest sequence the model was built for, where its configuration says."""
        return position_limit(self.model.config)

    @contextmanager
    def precision(self) -> Iterator[None]:
        """The context in which the model computes: under autocast if `dtype` says so."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16) if self.dtype == "bf16" else nullcontext():
            yield
        if not torch.is_grad_enabled():
            let_go(self.model)

    def rows(self, batch: Sequence[Encoded]) -> Rows:
        """Lay out Groups for this policy."""
        reading = self.engine.reading_up_to(max(map(longest_row, batch), default=0))
        whole = self.reward_head is not None
        if reading is None:
            return padded_rows(batch, whole=whole, device=self.device)
        return shared_row(
            batch,
            by=reading,
            attention=self.engine.attention,
            asked_only=self.engine.asked_only,
            whole=whole,
            device=self.device,
        )

    def cost(self, responses: int, longest: int, shared: int) -> int:
        """Tokens that go through the model for a batch, from its number of responses and two lengths in tokens.

        Where prompts are shared, an upper bound: Groups may have beginnings in common.

        Args:
            responses: how many there are.
            longest: the longest sequence, a prompt with its response.
            shared: all prompts once and all responses.
        """
        return responses * longest if self.engine.reading_up_to(longest) is None else shared

    def logprobs(self, batch: Sequence[Encoded] | Rows, *, temperature: float = 1.0) -> Tensor:
        """Log-probability of every trained response token, `[B,n,T]` float32, with gradients where they are on."""
        rows = batch if isinstance(batch, Rows) else self.rows(batch)
        with self.precision():
            return token_logprobs(self.model, rows, self.finish, temperature=temperature)

    def logprobs_and_entropies(
        self, batch: Sequence[Encoded] | Rows, *, temperature: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """`logprobs`, and from the same pass and in the same shape the entropy in nats of each token's distribution."""
        rows = batch if isinstance(batch, Rows) else self.rows(batch)
        with self.precision():
            return token_logprobs_and_entropies(self.model, rows, self.finish, temperature=temperature)

    def logprobs_and_collisions(
        self, batch: Sequence[Encoded] | Rows, *, temperature: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """`logprobs`, and from the same pass the log of the sum of squared probabilities, without gradients."""
        rows = batch if isinstance(batch, Rows) else self.rows(batch)
        with self.precision():
            return token_logprobs_and_collisions(self.model, rows, self.finish, temperature=temperature)

    def logprobs_and_peaks(self, batch: Sequence[Encoded] | Rows) -> tuple[Tensor, Tensor]:
        """`logprobs`, and from the same pass the log-probability of the likeliest token in each place; no gradients."""
        rows = batch if isinstance(batch, Rows) else self.rows(batch)
        with self.precision():
            return token_logprobs_and_peaks(self.model, rows, self.finish)

    def estimates(self, batch: Sequence[Encoded] | Rows) -> dict[str, Tensor]:
        """`logprobs` as `policy`, and from the same pass what the heads of action values say, `[B,n,T]` each."""
        if self.action_values is None:
            mend = "Train one with `accord train ilql`."
            raise ModelError("has no heads of action values", where=self.source, mend=mend)
        rows = batch if isinstance(batch, Rows) else self.rows(batch)
        with self.precision():
            return self.action_values.estimates(self.model, rows, self.finish)

    def divergences(
        self, batch: Sequence[Encoded] | Rows, other: Policy | OwnPast, measure: Measure, *, temperature: float = 1.0
    ) -> Tensor:
        """How far each trained token's distribution is from a frozen model's, `[B,n,T]` float32.

        Args:
            batch: Groups, or their rows.
            other: a policy with the same vocabulary, for which no gradient is made; or a context in which this policy
                is the other one, such as `start` or `MovingReference.in_place`.
            measure: of log-softmax under this policy and under the other, both `[N,V]` float32, to `[N]`. It is called
                chunk by chunk, and perhaps again in the backward pass.
            temperature: divides both models' logits.

        Raises:
            ModelError: the vocabularies differ in size.
        """
        rows = batch if isinstance(batch, Rows) else self.rows(batch)
        own = Side(self.model, rows, self.finish, self.precision)
        if isinstance(other, Policy):
            self._require_as_many_tokens(other)
            theirs = Side(other.model, other.rows(rows.batch), other.finish, other.precision)
        else:
            theirs = replace(own, context=lambda: self._within(other))
        with held(self.model):  # the head is read again and again
            values = token_divergences(own, theirs, measure, temperature=temperature)
        if not torch.is_grad_enabled():
            let_go(self.model)
        return values

    def _require_as_many_tokens(self, other: Policy) -> None:
        sizes = vocabulary_size(self.model), vocabulary_size(other.model)
        if len(set(sizes)) > 1:
            raise ModelError(
                f"it predicts {sizes[1]} tokens and {self.source} predicts {sizes[0]}",
                where=other.source,
                mend="Compare models that share a tokenizer.",
            )

    def rewards(self, batch: Sequence[Encoded] | Rows) -> Tensor:
        """The overall value of every response, `[B,n]` float32."""
        values = self.named_rewards(batch)
        assert isinstance(self.reward_head, RewardHead)
        return self.reward_head.overall(values)

    def named_rewards(self, batch: Sequence[Encoded] | Rows) -> Tensor:
        """Every value of the reward head after the last token of every response, `[B,n,K]` float32."""
        if not isinstance(self.reward_head, RewardHead):
            mend = "Train one with `accord train bradley_terry`."
            raise ModelError("has no reward head", where=self.source, mend=mend)
        rows = batch if isinstance(batch, Rows) else self.rows(batch)
        with self.precision():
            values = self.reward_head(hidden_states(self.model, rows, rows.last))
        return torch.stack([rows.fold_rows(value) for value in values.float().unbind(-1)], -1)

    def step_rewards(self, batch: Sequence[Encoded] | Rows) -> Tensor:
        """The log-odds that a step is good, at the last token of every step, `[B,n,T]` float32; 0 elsewhere."""
        if not isinstance(self.reward_head, StepHead):
            mend = "Train one with `accord train process_reward`."
            raise ModelError("is no process reward model", where=self.source, mend=mend)
        rows = batch if isinstance(batch, Rows) else self.rows(batch)
        with self.precision():
            values = self.reward_head(hidden_states(self.model, rows, rows.end))
        return rows.fold_ends(values.float())

    def head_outputs(self, rows: Rows) -> dict[str, Tensor]:
        """What the head gives, by its name in the vocabulary of objectives."""
        if isinstance(self.reward_head, StepHead):
            return {"step_reward": self.step_rewards(rows)}
        values = self.named_rewards(rows)
        assert isinstance(self.reward_head, RewardHead)
        return {"named_rewards": values, "reward": self.reward_head.overall(values)}

    def start(self) -> AbstractContextManager[Any]:
        """A context in which the model is its own start: adapters disabled. Only under LoRA."""
        context: AbstractContextManager[Any] = self.model.disable_adapter()
        return context

    @contextmanager
    def _within(self, past: OwnPast) -> Iterator[None]:
        with held(self.model), past(), self.precision():
            yield

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that training changes, by a stable name; tied weights appear once."""
        named = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        if self.reward_head is not None:
            named |= {f"reward_head.{name}": p for name, p in self.reward_head.named_parameters()}
        return named if self.action_values is None else named | self.action_values.trainable()

    def parameter_count(self) -> int:
        """All parameters, tied ones once, the heads included."""
        heads = [head.parameters() for head in (self.reward_head, self.action_values) if head is not None]
        return sum(p.numel() for p in chain(self.model.parameters(), *heads))

    def fingerprint(self) -> str:
        """Content hash of the starting weights and compute dtype; taken once, before training."""
        if self._fingerprint is None:
            base = {name: p for name, p in self.model.named_parameters() if "lora_" not in name}
            plain = {name.replace("base_model.model.", "").replace(".base_layer", ""): p for name, p in base.items()}
            self._fingerprint = f"{weights_fingerprint(plain)}-{self.dtype}"
        return self._fingerprint

    def whole(self) -> Policy | None:
        """This policy with all of its weights in the first process, `None` in the others.

        Where the weights are sharded, every process must call, and gets a copy on the CPU.
        """
        if not is_sharded(self.model):
            return self if is_first() else None
        empty, head = self.skeleton, None
        model = gathered(self.model, None if empty is None else empty.model)
        if self.reward_head is not None:
            head = gathered(self.reward_head, None if empty is None else empty.reward_head)
        return None if empty is None else replace(empty, model=model, reward_head=head)

    def save(self, directory: str | Path) -> None:
        """Write a directory that plain transformers loads: safetensors, tokenizer, chat template, generation settings.

        Adapters are merged into the weights. Heads of action values stand in a file beside them. A reward model
        is written as a classifier, of sequences or of tokens, with a tokenizer whose pad token no response ends with.
        The first process writes; where the weights are sharded, every process must call.
        """
        whole = self.whole()
        if whole is None:
            return
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        quiet_transformers()
        model, tokenizer = whole.model, self.tokenizer
        if self.adapted:
            model = (copy.deepcopy(model) if whole is self else model).merge_and_unload()
        if whole.reward_head is not None:
            tokenizer = tokenizer_of_classifier(tokenizer, self.renderer.stop_ids)
            save_reward_model(model, whole.reward_head, directory, pad_id=tokenizer.pad_token_id)
        else:
            _with_stop_tokens(model, self.renderer)
            model.save_pretrained(directory, safe_serialization=True)
        if self.action_values is not None:
            self.action_values.save(directory)
        tokenizer.save_pretrained(directory)


def training_mode(policy: Policy) -> None:
    """Evaluation mode for everything but adapter dropout and checkpointed layers.

    Dropout in the base model would make the policy differ from its reference at step 0 and break the identities that
    every preference objective starts from.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    policy.model.eval()
    for name, module in policy.model.named_modules():
        if "lora_dropout" in name:
            module.train()
        elif isinstance(module, GradientCheckpointingLayer) and getattr(module, "gradient_checkpointing", False):
            module.training = True


def quiet_transformers() -> None:
    """Switch transformers' own progress bars off: they would tear Accord's apart."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def position_limit(config: Any) -> int | None:
    """Longest sequence that a model's configuration says it was built for."""
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    return int(limit) if limit else None


def _with_stop_tokens(model: Any, renderer: Renderer) -> None:
    """Let plain `generate` stop where the policy was trained to stop."""
    settings = getattr(model, "generation_config", None)
    if settings is not None:
        stops = sorted(renderer.stop_ids)
        settings.eos_token_id = stops[0] if len(stops) == 1 else stops
        settings.pad_token_id = renderer.pad_id
