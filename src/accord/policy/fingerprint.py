"""Content hashes of weights and sequences: what caches are keyed by and resumes are checked against."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from accord.record import Encoded, EncodedResponse


def weights_fingerprint(weights: Mapping[str, Tensor]) -> str:
    """A hash of names, shapes, dtypes and bytes of tensors, independent of their order."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def sequence_key(weights: str, encoded: Encoded, response: EncodedResponse) -> bytes:
    """The key of one response's log-probs: weights (and dtype), prompt ids, response ids, trained mask."""
    digest = hashlib.blake2b(weights.encode(), digest_size=20)
    for part in (encoded.prompt, response.tokens, response.trained):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(np.asarray(part, dtype=np.int64).tobytes())
    return digest.digest()


def data_fingerprint(batch: Iterable[Encoded]) -> str:
    """A hash of all token ids and masks, in order."""
    digest = hashlib.blake2b(digest_size=16)
    for encoded in batch:
        for response in encoded.responses:
            digest.update(sequence_key("", encoded, response))
        digest.update(b"|")
    return digest.hexdigest()
