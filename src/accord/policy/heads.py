"""The scalar head of a reward model, and its export as a plain sequence classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from accord.errors import ModelError


class RewardHead(nn.Module):
    """A linear map from the state after the last token to one number.

    The weight starts at zero, so that the first loss is exactly log 2 and no response is favoured before training.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.score = nn.Linear(hidden_size, 1, bias=False)
        nn.init.zeros_(self.score.weight)

    @classmethod
    def for_model(cls, model: Any, source: str) -> RewardHead:
        """A head for a model: the one saved beside its weights if it is a reward model, a new one otherwise."""
        _require_classifier(model)
        head = cls(int(model.config.get_text_config().hidden_size))
        saved = _saved_score(Path(source))
        if saved is not None:
            head.score.weight.data.copy_(saved)
        return head

    def forward(self, states: Tensor) -> Tensor:
        """States `[R,H]` to rewards `[R]`."""
        rewards: Tensor = self.score(states.to(self.score.weight.dtype)).squeeze(-1)
        return rewards


def save_reward_model(model: Any, head: RewardHead, directory: Path, *, pad_id: int) -> None:
    """Write trunk and head so that `AutoModelForSequenceClassification` loads them with `num_labels=1`.

    transformers finds the last token of a row by the pad id, which is therefore part of the written configuration.

    Raises:
        ModelError: transformers has no sequence classifier for this architecture.
    """
    from transformers import AutoModelForSequenceClassification

    _require_classifier(model)
    config = type(model.config).from_dict(model.config.to_dict())
    config.num_labels = 1
    config.pad_token_id = pad_id
    with torch.device("meta"):
        classifier = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
    name = next(key for key in classifier.state_dict() if key.endswith("score.weight"))
    weights = {key: value for key, value in model.state_dict().items() if key in classifier.state_dict()}
    weights[name] = head.score.weight.detach().to(next(iter(weights.values())).dtype)
    missing = set(classifier.state_dict()) - set(weights)
    if missing:
        raise ModelError(
            f"the sequence classifier of {type(model.config).__name__} needs {sorted(missing)[:3]} as well"
        )
    classifier.config.architectures = [type(classifier).__name__]
    classifier.save_pretrained(directory, state_dict=weights, safe_serialization=True)


def _require_classifier(model: Any) -> None:
    """Refuse, before training, an architecture whose reward model could not be exported."""
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

    if type(model.config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise ModelError(
            f"transformers has no sequence classifier for {type(model.config).__name__}, so a reward model of it "
            "could not be loaded elsewhere",
            mend="Train the reward model from another architecture.",
        )


def _saved_score(directory: Path) -> Tensor | None:
    """The `score.weight` in a model directory, if it holds a reward model."""
    from safetensors import safe_open

    for file in sorted(directory.glob("*.safetensors")) if directory.is_dir() else ():
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - safe_open is not a mapping
                if name.endswith("score.weight"):
                    saved: Tensor = tensors.get_tensor(name)
                    return saved
    return None
