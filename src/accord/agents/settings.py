"""What an agent is configured with: models, sampling, the optimiser, and the method's hyperparameters."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from accord.errors import ConfigError
from accord.objectives import resolve, validate
from accord.objectives.policy_gradient import METHODS
from accord.objectives.vocabulary import signature_of


@dataclass(frozen=True, kw_only=True)
class Settings:
    """An agent's configuration.

    Attributes:
        policy: a causal language model of transformers; what is trained.
        reference_policy: what the policy is compared with; by default a copy of it as it is.
        critic: a causal language model for the value head to stand on; by default a copy of the policy.
        learning_rate: of AdamW.
        weight_decay: of matrices.
        max_grad_norm: clipping threshold of the gradient's norm; 0 switches it off.
        micro_batch_tokens: tokens that go through the model at once; memory, not results, depends on it.
        group_size: samples of each prompt.
        temperature: at which samples are drawn, and their log-probabilities taken.
        max_new_tokens: longest answer.
        stop_ids: what ends an answer; by default the model's end-of-sequence tokens.
        pad_id: what fills rows; by default the model's pad token, else 0. Masks come from lengths, never from it.
        seed: of the sampling, which differs from step to step.
        hyper: the method's hyperparameters, by name.
    """

    policy: Any
    reference_policy: Any = None
    critic: Any = None
    learning_rate: float = 1e-6
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    micro_batch_tokens: int = 16384
    group_size: int = 1
    temperature: float = 1.0
    max_new_tokens: int = 128
    stop_ids: tuple[int, ...] = ()
    pad_id: int = 0
    seed: int = 0
    hyper: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key, allowed, fits in (
            ("learning_rate", "more than 0", self.learning_rate > 0),
            ("max_grad_norm", "0 or more", self.max_grad_norm >= 0),
            ("group_size", "at least 1", self.group_size >= 1),
            ("temperature", "more than 0", self.temperature > 0),
            ("max_new_tokens", "at least 1", self.max_new_tokens >= 1),
        ):
            if not fits:
                raise ConfigError(f"{getattr(self, key)} is out of range", where=key, mend=f"Give {allowed}.")


_OWN = {one.name for one in dataclasses.fields(Settings)} - {"hyper"}


def read_settings(config: Mapping[str, Any], method: str, aliases: Mapping[str, str]) -> Settings:
    """The settings of an agent of a method.

    Args:
        config: by name. `num_samples` is `group_size`, and `aliases` names further hyperparameters.
        method: an objective or a policy-gradient method.
        aliases: keys that are hyperparameters under another name.

    Raises:
        ConfigError: `policy` is missing, a key is unknown, or a value is out of range.
    """
    if "policy" not in config:
        mend = "Give the causal language model that is to be trained."
        raise ConfigError("the configuration has no 'policy'", where=f"{method} agent", mend=mend)
    named = {parameter.name for parameter in signature_of(resolve(method)).hyperparameters}
    renamed = {aliases.get(key, key): value for key, value in config.items()}
    if "num_samples" in renamed:
        renamed["group_size"] = renamed.pop("num_samples")
    for key in renamed:
        if key not in _OWN | named:
            known = sorted((_OWN | named | set(aliases)) - set(aliases.values()))
            close = difflib.get_close_matches(key, known, n=1)
            guess = f"Did you mean {close[0]!r}? " if close else ""
            raise ConfigError("is not known", where=repr(key), mend=f"{guess}It takes {', '.join(known)}.")
    own = {key: value for key, value in renamed.items() if key in _OWN and value is not None}
    least = METHODS[method].rollout.n if method in METHODS else 1
    defaults = {"group_size": least, **_ends(config["policy"])}
    hyper = validate(method, {key: value for key, value in renamed.items() if key in named})
    return Settings(**{**defaults, **own}, hyper=hyper)


def _ends(model: Any) -> dict[str, Any]:
    """The end-of-sequence and pad tokens that a model's own configuration names."""
    for settings in (getattr(model, "generation_config", None), model.config):
        end = getattr(settings, "eos_token_id", None)
        if end is not None:
            pad = getattr(settings, "pad_token_id", None)
            return {"stop_ids": tuple(end) if isinstance(end, list) else (end,), "pad_id": 0 if pad is None else pad}
    return {}
