"""Load a causal language model and its tokenizer as a `Policy`, with a clear word about what cannot be loaded."""

from __future__ import annotations

import json
import logging
import warnings
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from accord.errors import AccordError, ConfigError, ModelError
from accord.policy.chat import Renderer
from accord.policy.classifiers import classifier_task
from accord.policy.engine.attention import recompute_contexts
from accord.policy.engine.compiled import compile_layers
from accord.policy.engine.layers import use_lean_layers
from accord.policy.engine.memory import keep_freed_blocks
from accord.policy.engine.probe import find_engine
from accord.policy.heads import Head, RewardHead
from accord.policy.logprobs import Finish, find_finish
from accord.policy.policy import Dtype, Policy, position_limit, quiet_transformers, training_mode
from accord.policy.sharding import from_first, is_first, is_sharded, shard_head, shard_model, skeleton


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
    compile: bool = False,  # noqa: A002
    shard: bool = False,
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
        compile: compile the decoder layers, in the first passes that compute log-probs; see `compile_layers`.
        shard: distribute the weights over the processes of the process group. Only the first reads them from disk.
        trust_remote_code: run code that comes with the model.

    Raises:
        ModelError: the model or tokenizer cannot be loaded, or is not a causal language model.
        ConfigError: the device is not there, or `compile` has no compiler or no effect.
    """
    source = str(model)
    _require_there(source)
    tokenizer = _load_tokenizer(source, trust_remote_code)
    weights = torch.bfloat16 if dtype == "bf16" and lora_r else torch.float32
    load = _load_network if not shard or is_first() else empty_network
    network = load(source, weights, trust_remote_code)
    _check_vocabulary(network, tokenizer, source)
    if gradient_checkpointing:
        _enable_checkpointing(network)
    policy = Policy(network, tokenizer, Renderer(tokenizer, chat=chat), source, dtype, Finish())
    generator_state = torch.get_rng_state()
    torch.manual_seed(seed)
    if lora_r:
        policy.model = with_adapters(network, lora_r, lora_alpha, lora_dropout)
    if not compile:  # a compiler finds more than these, and less in them
        use_lean_layers(policy.model)
    head = RewardHead.for_model(network, source) if reward else None
    torch.set_rng_state(generator_state)
    policy.model.eval()
    target = _device(device)
    if target.type == "cpu":
        keep_freed_blocks()
    place = _shard if shard else _put
    place(policy, target)
    if head is not None:
        attach_head(policy, head)
    _find_engine(policy)
    if lora_r and gradient_checkpointing:
        # Without it, the frozen embeddings' output needs no gradient and checkpointed layers get none.
        policy.model.enable_input_require_grads()
    training_mode(policy)
    if compile:
        _compile(policy)
    return policy


def _compile(policy: Policy) -> None:
    """Have the policy's layers compiled where its batches go through them without a cache."""
    if policy.engine.reading == "cache":
        raise ConfigError(
            f"has no effect on {policy.source}, where {policy.engine.note}", where="--compile", mend="Leave it out."
        )
    compile_layers(policy.model)
    lost = ", which gains nothing in fp32 on a CPU" if policy.device.type == "cpu" and policy.dtype == "fp32" else ""
    note = f"{policy.engine.note}; layers are compiled when first needed{lost}"
    policy.engine = replace(policy.engine, note=note, asked_only=False)  # what is compiled runs to its end


def _put(policy: Policy, device: torch.device) -> None:
    """Put the whole policy onto a device."""
    policy.model.to(device)
    policy.fingerprint()


def _shard(policy: Policy, device: torch.device) -> None:
    """Distribute the policy over the devices of all processes."""
    first = is_first()
    policy._fingerprint = from_first(policy.fingerprint() if first else None)
    policy.skeleton = replace(policy, model=skeleton(policy.model)) if first else None
    shard_model(policy.model, device, compute=torch.bfloat16 if policy.dtype == "bf16" else None)


def attach_head(policy: Policy, head: Head) -> None:
    """Give a policy a reward head: on its device, and in shares where its weights are."""
    policy.reward_head = head
    if policy.skeleton is not None:
        policy.skeleton.reward_head = skeleton(head)
    if is_sharded(policy.model):
        shard_head(head, policy.device)
    else:
        head.to(policy.device)


def _find_engine(policy: Policy) -> None:
    """Find out, by trying, what the model does to its logits and how batches go through it fastest."""
    # A model in one piece is tried in its own precision, which tells more; in pieces it knows only that of training.
    with torch.no_grad(), policy.precision() if is_sharded(policy.model) else nullcontext():
        try:
            policy.finish = find_finish(policy.model)
            policy.engine = find_engine(policy.model, policy.finish)
        except AccordError as error:
            raise ModelError(error.what, where=policy.source, mend=error.mend) from error


def empty_network(source: str, dtype: torch.dtype, trust_remote_code: bool) -> Any:
    """A model without weights, on the meta device, built from its configuration.

    Raises:
        ModelError: there is no configuration, or it is not that of a causal language model.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    quiet_transformers()
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code)
        with torch.device("meta"):
            network = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
                config, dtype=dtype, trust_remote_code=trust_remote_code
            )
    except (OSError, ValueError, KeyError, json.JSONDecodeError) as error:
        raise _load_error("configuration", source, error) from error
    return network.eval()


def load_renderer(
    model: str | Path, *, chat: Literal["auto", "on", "off"] = "auto", trust_remote_code: bool = False
) -> tuple[Renderer, int | None]:
    """How a model reads Groups, and the longest sequence it was built for (where it says), without its weights.

    Raises:
        ModelError: its tokenizer or configuration cannot be loaded.
    """
    from transformers import AutoConfig

    source = str(model)
    _require_there(source)
    renderer = Renderer(_load_tokenizer(source, trust_remote_code), chat=chat)
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, json.JSONDecodeError) as error:
        raise _load_error("configuration", source, error) from error
    return renderer, position_limit(config)


def _device(device: str | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        known = "cpu or cuda:0" if torch.cuda.is_available() else "cpu"
        raise ConfigError(f"{device!r} is not available here", where="--device", mend=f"Try {known}.") from error


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
    from transformers.utils.logging import get_verbosity, set_verbosity

    quiet_transformers()
    verbosity = get_verbosity()
    try:
        if classifier_task(source) is not None:
            # Its last layer has no place in a language model and is read by itself: nothing to warn of.
            set_verbosity(logging.ERROR)
        return AutoModelForCausalLM.from_pretrained(
            source, dtype=dtype, use_safetensors=True, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, KeyError, RuntimeError, json.JSONDecodeError) as error:
        raise _load_error("model", source, error) from error
    finally:
        set_verbosity(verbosity)


def _require_there(source: str) -> None:
    """Say at once that a model is nowhere: a path that does not exist, a hub id that is neither cached nor to be had.

    Left to themselves, the loaders would ask the hub for a mistyped path, and ask again and again without a network.
    """
    if Path(source).exists():
        return
    if source.startswith((".", "/", "~")) or source.endswith("/") or source.count("/") > 1:
        raise ModelError("No such directory", where=source, mend="Give a directory that holds a model, or a hub id.")
    from huggingface_hub import is_offline_mode, model_info, try_to_load_from_cache

    if is_offline_mode() or isinstance(try_to_load_from_cache(source, "config.json"), str):
        return
    try:
        model_info(source, timeout=10)
    except Exception as error:  # the hub's clients raise many kinds, and each means that the model cannot be had
        raise _load_error("files", source, error) from error


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


def with_adapters(network: Any, rank: int, alpha: float | None, dropout: float) -> Any:
    """A network with LoRA adapters on every linear layer but the head; `alpha` of `None` is twice the rank."""
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
