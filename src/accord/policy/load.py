"""Load a causal language model and its tokenizer as a `Policy`, and save it for plain transformers."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from accord.errors import AccordError, ConfigError, ModelError
from accord.policy.chat import Renderer
from accord.policy.engine.attention import recompute_contexts
from accord.policy.engine.probe import PADDED, Engine, find_engine
from accord.policy.fingerprint import weights_fingerprint
from accord.policy.heads import RewardHead, save_reward_model
from accord.policy.logprobs import Finish, find_finish, hidden_states, token_logprobs, token_logprobs_and_entropies
from accord.policy.rows import Rows, longest_row, padded_rows, shared_row
from accord.record import Encoded

Dtype = Literal["fp32", "bf16"]


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
        reward_head: a scalar head, for reward models.
        engine: how batches are laid out.
    """

    model: Any
    tokenizer: Any
    renderer: Renderer
    source: str
    dtype: Dtype
    finish: Finish
    reward_head: RewardHead | None = None
    engine: Engine = PADDED
    version: str = "start"
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
        return _position_limit(self.model.config)

    def precision(self) -> AbstractContextManager[Any]:
        """The autocast context of `dtype`."""
        if self.dtype == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def rows(self, batch: Sequence[Encoded]) -> Rows:
        """Lay out Groups for this policy."""
        shares = self.engine.shares_up_to(max(map(longest_row, batch), default=0))
        lay_out = shared_row if shares else padded_rows
        return lay_out(batch, whole=self.reward_head is not None, device=self.device)

    def cost(self, responses: int, longest: int, shared: int) -> int:
        """Tokens that go through the model for a batch, from its number of responses and two lengths in tokens.

        Args:
            responses: how many there are.
            longest: the longest sequence, a prompt with its response.
            shared: all prompts once and all responses.
        """
        return shared if self.engine.shares_up_to(longest) else responses * longest

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

    def rewards(self, batch: Sequence[Encoded] | Rows) -> Tensor:
        """The reward head's output after the last token of every response, `[B,n]` float32."""
        if self.reward_head is None:
            raise ModelError(
                "has no reward head", where=self.source, mend="Train one with `accord train bradley_terry`."
            )
        rows = batch if isinstance(batch, Rows) else self.rows(batch)
        with self.precision():
            values = self.reward_head(hidden_states(self.model, rows)[rows.last])
        return rows.fold_rows(values.float())

    def start(self) -> AbstractContextManager[Any]:
        """A context in which the model is its own start: adapters disabled. Only under LoRA."""
        context: AbstractContextManager[Any] = self.model.disable_adapter()
        return context

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that training changes, by a stable name; tied weights appear once."""
        named = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        if self.reward_head is not None:
            named |= {f"reward_head.{name}": p for name, p in self.reward_head.named_parameters()}
        return named

    def parameter_count(self) -> int:
        """All parameters, tied ones once, the reward head included."""
        head = self.reward_head.parameters() if self.reward_head is not None else ()
        return sum(p.numel() for p in (*self.model.parameters(), *head))

    def fingerprint(self) -> str:
        """Content hash of the starting weights and compute dtype; taken once, before training."""
        if self._fingerprint is None:
            base = {name: p for name, p in self.model.named_parameters() if "lora_" not in name}
            plain = {name.replace("base_model.model.", "").replace(".base_layer", ""): p for name, p in base.items()}
            self._fingerprint = f"{weights_fingerprint(plain)}-{self.dtype}"
        return self._fingerprint

    def save(self, directory: str | Path) -> None:
        """Write a directory that plain transformers loads: safetensors, tokenizer, chat template, generation settings.

        Adapters are merged into the weights. A reward model is written as a sequence classifier.
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        model = self._merged()
        if self.reward_head is not None:
            save_reward_model(model, self.reward_head, directory, pad_id=self.renderer.pad_id)
        else:
            _with_stop_tokens(model, self.renderer)
            model.save_pretrained(directory, safe_serialization=True)
        self.tokenizer.save_pretrained(directory)

    def _merged(self) -> Any:
        if not self.adapted:
            return self.model
        return copy.deepcopy(self.model).merge_and_unload()


def load_policy(
    model: str | Path,
    *,
    dtype: Dtype = "fp32",
    device: str | None = None,
    lora_r: int = 0,
    lora_alpha: float | None = None,
    lora_dropout: float = 0.0,
    reward: bool = False,
    chat: Literal["auto", "on", "off"] = "auto",
    seed: int = 0,
    gradient_checkpointing: bool = False,
    trust_remote_code: bool = False,
) -> Policy:
    """Load any causal LM that transformers loads, from a directory or the hub.

    Args:
        model: directory or hub id.
        dtype: compute precision. Weights that are trained stay in float32; frozen ones are held in bf16 under bf16.
        device: torch device; CUDA if there is one, else the CPU.
        lora_r: rank of LoRA adapters on every linear layer but the head (fused experts stay frozen); 0 trains all.
        lora_alpha: scale of the adapters; twice the rank if not given.
        lora_dropout: dropout inside the adapters.
        reward: attach a scalar reward head.
        chat: whether plain-text prompts are wrapped as a user turn, see `Renderer`.
        seed: seeds the adapters' and the reward head's initial weights.
        gradient_checkpointing: recompute activations in the backward pass.
        trust_remote_code: run code that comes with the model.

    Raises:
        ModelError: the model or tokenizer cannot be loaded, or is not a causal language model.
    """
    source = str(model)
    _require_directory(source)
    tokenizer = _load_tokenizer(source, trust_remote_code)
    network = _load_network(source, torch.bfloat16 if dtype == "bf16" and lora_r else torch.float32, trust_remote_code)
    network.to(_device(device))
    _check_vocabulary(network, tokenizer, source)
    try:
        finish = find_finish(network)
    except AccordError as error:
        raise ModelError(error.what, where=source, mend=error.mend) from error
    engine = find_engine(network, finish)
    policy = Policy(network, tokenizer, Renderer(tokenizer, chat=chat), source, dtype, finish, engine=engine)
    policy.fingerprint()
    if gradient_checkpointing:
        _enable_checkpointing(network)
    generator_state = torch.get_rng_state()
    torch.manual_seed(seed)
    if lora_r:
        policy.model = _with_adapters(network, lora_r, lora_alpha, lora_dropout)
        if gradient_checkpointing:
            # Without it, the frozen embeddings' output needs no gradient and checkpointed layers get none.
            policy.model.enable_input_require_grads()
    if reward:
        policy.reward_head = RewardHead.for_model(network, source)
        policy.reward_head.to(policy.device)
    torch.set_rng_state(generator_state)
    training_mode(policy)
    return policy


def load_renderer(
    model: str | Path, *, chat: Literal["auto", "on", "off"] = "auto", trust_remote_code: bool = False
) -> tuple[Renderer, int | None]:
    """How a model reads Groups, and the longest sequence it was built for (where it says), without its weights.

    Raises:
        ModelError: its tokenizer or configuration cannot be loaded.
    """
    from transformers import AutoConfig

    source = str(model)
    renderer = Renderer(_load_tokenizer(source, trust_remote_code), chat=chat)
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, json.JSONDecodeError) as error:
        raise _load_error("configuration", source, error) from error
    return renderer, _position_limit(config)


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


def _position_limit(config: Any) -> int | None:
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    return int(limit) if limit else None


def _device(device: str | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"{device!r} is not available here", where="--device", mend="Try cpu or cuda:0.") from error


def _load_tokenizer(source: str, trust_remote_code: bool) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise _load_error("tokenizer", source, error) from error
    # Overlong rows are the data doctor's to report, with file and line; the tokenizer's own warning names neither.
    tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
    return tokenizer


def _load_network(source: str, dtype: torch.dtype, trust_remote_code: bool) -> Any:
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        return AutoModelForCausalLM.from_pretrained(
            source, dtype=dtype, use_safetensors=True, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, KeyError, RuntimeError, json.JSONDecodeError) as error:
        raise _load_error("model", source, error) from error


def _require_directory(source: str) -> None:
    """Say at once that a path is wrong, instead of asking the hub for it."""
    looks_like_path = source.startswith((".", "/", "~")) or source.endswith("/") or source.count("/") > 1
    if looks_like_path and not Path(source).exists():
        raise ModelError("No such directory", where=source, mend="Give a directory that holds a model, or a hub id.")


def _load_error(part: str, source: str, error: Exception) -> ModelError:
    reason = " ".join(str(error).split()) or type(error).__name__
    if "trust_remote_code" in reason:
        mend = "The model brings its own code; if you trust its author, add --trust-remote-code."
    elif Path(source).is_dir():
        mend = "It should hold config.json, *.safetensors and tokenizer files, as save_pretrained writes them."
    elif Path(source).exists():
        mend = "Give the directory that holds the model, not a file in it."
    else:
        mend = "No such directory here; as a hub id it could not be fetched or found in the local cache."
    return ModelError(f"its {part} cannot be loaded ({reason[:300]})", where=source, mend=mend)


def _check_vocabulary(network: Any, tokenizer: Any, source: str) -> None:
    """Refuse a tokenizer that was not made for the model, or that loads as something else than was saved."""
    if not tokenizer("a b", add_special_tokens=False)["input_ids"]:
        raise ModelError(
            f"its tokenizer loads as {type(tokenizer).__name__} and gives no tokens for text",
            where=source,
            mend="Name its true class as tokenizer_class in tokenizer_config.json, or use the original files.",
        )
    rows = network.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ModelError(
            f"the tokenizer has {len(tokenizer)} tokens but the model embeds {rows}",
            where=source,
            mend="Model and tokenizer do not belong together, or the embeddings were not resized.",
        )


def _enable_checkpointing(network: Any) -> None:
    """Switch activation checkpointing on under either of the names transformers has had for it."""
    settings = {"use_reentrant": False, "context_fn": recompute_contexts}
    if hasattr(network, "activation_checkpointing_enable"):
        network.activation_checkpointing_enable(settings)
    else:
        network.gradient_checkpointing_enable(settings)


def _with_adapters(network: Any, rank: int, alpha: float | None, dropout: float) -> Any:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank if alpha is None else alpha,  # type: ignore[arg-type]
        lora_dropout=dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        # peft asks transformers for a property that is being renamed, tells how it adapts GPT-2's transposed layers,
        # and that the fused experts of a mixture are not linear layers (they stay frozen).
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        warnings.filterwarnings("ignore", message="fan_in_fan_out", category=UserWarning)
        warnings.filterwarnings("ignore", message="The following (rank|alpha)_pattern keys", category=RuntimeWarning)
        return get_peft_model(network, config)


def _with_stop_tokens(model: Any, renderer: Renderer) -> None:
    """Let plain `generate` stop where the policy was trained to stop."""
    settings = getattr(model, "generation_config", None)
    if settings is not None:
        stops = sorted(renderer.stop_ids)
        settings.eos_token_id = stops[0] if len(stops) == 1 else stops
        settings.pad_token_id = renderer.pad_id
