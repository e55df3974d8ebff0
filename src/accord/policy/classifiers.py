"""Classifiers of transformers, as which reward models are saved and found: of sequences, and of tokens."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from accord.errors import ModelError

Task = Literal["sequence", "token"]

STEP_LABELS = ("bad", "good")
"""The labels of a process reward model, in the order of its logits."""

_HEADS = ("score", "classifier")
"""What transformers calls the last layer of a classifier."""

_INDEX = "model.safetensors.index.json"
_WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class ClassifierHead:
    """The last layer of a saved classifier.

    Attributes:
        task: what it classifies.
        weight: `[K,H]`.
        bias: `[K]`, where it has one.
        labels: the name of each output.
    """

    task: Task
    weight: Tensor
    bias: Tensor | None
    labels: tuple[str, ...]


def require_classifier(config: Any, task: Task) -> None:
    """Refuse, before training, an architecture whose reward model could not be exported.

    Raises:
        ModelError: transformers has no such classifier for it.
    """
    import transformers

    mappings: dict[Task, Any] = {
        "sequence": transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
        "token": transformers.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    }
    if type(config) not in mappings[task]:
        raise ModelError(
            f"transformers has no {task} classifier for {type(config).__name__}, so a reward model of it "
            "could not be loaded elsewhere",
            mend="Train the reward model from another architecture.",
        )


def save_classifier(
    model: Any, task: Task, head: Mapping[str, Tensor], labels: tuple[str, ...], directory: Path, *, pad_id: int
) -> None:
    """Write a trunk and its head so that transformers loads them as a classifier.

    Args:
        model: a causal language model; its LM head is left out.
        task: the kind of classifier.
        head: `weight` `[K,H]`, and perhaps `bias` `[K]`.
        labels: the name of each output.
        directory: where to write.
        pad_id: transformers finds the last token of a row by it, so it is part of the configuration.

    Raises:
        ModelError: the classifier of this architecture has further weights.
    """
    import transformers

    require_classifier(model.config, task)
    autos: dict[Task, Any] = {
        "sequence": transformers.AutoModelForSequenceClassification,
        "token": transformers.AutoModelForTokenClassification,
    }
    config = type(model.config).from_dict(model.config.to_dict())
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    config.pad_token_id = pad_id
    with torch.device("meta"):
        classifier = autos[task].from_config(config)
    wanted = classifier.state_dict()
    weights = {name: tensor for name, tensor in model.state_dict().items() if name in wanted}
    dtype = next(iter(weights.values())).dtype
    for name in set(wanted) - set(weights):
        module, _, part = name.rpartition(".")
        if module.split(".")[-1] in _HEADS and part in ("weight", "bias"):
            weights[name] = head.get(part, torch.zeros(len(labels))).to(dtype)
    missing = set(wanted) - set(weights)
    if missing:
        raise ModelError(f"the {task} classifier of {type(model.config).__name__} needs {sorted(missing)[:3]} as well")
    classifier.config.architectures = [type(classifier).__name__]
    classifier.save_pretrained(directory, state_dict=weights, safe_serialization=True)


def tokenizer_of_classifier(tokenizer: Any, stop_ids: tuple[int, ...]) -> Any:
    """The tokenizer to save with a classifier: it pads on the right, with a token that no response ends with.

    transformers takes the last token of a row that is not the pad token for the last token of the text. Where the pad
    token is the end of sequence as well, that would be the token before; another special token takes its place, or
    else the longest of the vocabulary, with which hardly any text ends.
    """
    saved = copy.deepcopy(tokenizer)
    saved.padding_side = "right"
    if saved.pad_token_id is None or saved.pad_token_id in stop_ids:
        added = {token.content: index for index, token in saved.added_tokens_decoder.items() if token.special}
        special = [name for name, index in added.items() if index not in stop_ids]
        known = [saved.unk_token] if saved.unk_token in special else special
        ordinary = (name for name, index in saved.get_vocab().items() if index not in (*added.values(), *stop_ids))
        saved.pad_token = known[-1] if known else max(ordinary, key=lambda name: (len(name), name))
    return saved


def classifier_head(source: str) -> ClassifierHead | None:
    """The last layer of the classifier in a model directory or at a hub id; `None` if there is no classifier."""
    task = classifier_task(source)
    if task is None:
        return None
    parts = _last_layer(source)
    if "weight" not in parts:
        raise ModelError(f"is a {task} classifier without a last layer called score or classifier", where=source)
    given = _config(source).get("id2label") or {}
    labels = tuple(str(given.get(str(index), f"LABEL_{index}")) for index in range(len(parts["weight"])))
    return ClassifierHead(task, parts["weight"], parts.get("bias"), labels)


def classifier_task(source: str) -> Task | None:
    """What the model in a directory or at a hub id classifies; `None` if it is no classifier."""
    architecture = next(iter(_config(source).get("architectures") or ()), "")
    tasks: dict[str, Task] = {"ForSequenceClassification": "sequence", "ForTokenClassification": "token"}
    return next((task for ending, task in tasks.items() if architecture.endswith(ending)), None)


def _config(source: str) -> dict[str, Any]:
    path = model_file(source, "config.json")
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path is not None else {}
    return config


def _last_layer(source: str) -> dict[str, Tensor]:
    """Weight and bias of the last layer, from whichever file of the weights has them."""
    from safetensors import safe_open

    index = model_file(source, _INDEX)
    files = {_WEIGHTS}
    if index is not None:
        placed: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = {file for name, file in placed.items() if _is_head(name)}
    parts: dict[str, Tensor] = {}
    for file in sorted(files):
        path = model_file(source, file)
        if path is not None:
            with safe_open(path, framework="pt") as tensors:
                for name in filter(_is_head, tensors.keys()):
                    parts[name.rpartition(".")[2]] = tensors.get_tensor(name).float()
    return parts


def _is_head(name: str) -> bool:
    module, _, part = name.rpartition(".")
    return module in _HEADS and part in ("weight", "bias")


def model_file(source: str, name: str) -> Path | None:
    """A file of a model directory or, through the local cache, of the hub; `None` if it has none of that name."""
    if Path(source).is_dir():
        path = Path(source) / name
        return path if path.exists() else None
    from transformers.utils.hub import cached_file

    found = cached_file(source, name, _raise_exceptions_for_missing_entries=False)
    return None if found is None else Path(found)
