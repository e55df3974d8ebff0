"""Rollouts from vLLM: token ids in and out, and new weights from a directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec.structs import replace

from accord.policy.chat import Renderer
from accord.policy.sample import Sampling
from accord.rollout.server import CompletionServer, ServerError

FIRST_VERSION = (0, 10, 2)
"""The first version that returns token ids."""


class VllmServer(CompletionServer):
    """A vLLM server, which reads new weights from a directory that both can see.

    Start it with `VLLM_SERVER_DEV_MODE=1`, in which it takes weights, on a network that you trust; and with
    `--logprobs-mode processed_logprobs`, without which its log-probabilities are those of temperature 1 whatever the
    temperature. `accord.rollout.sampler_gap` tells whether it answers with the weights and distribution of the trainer.
    """

    def _settings(self, renderer: Renderer, sampling: Sampling) -> dict[str, Any]:
        self.check_version()
        return super()._settings(renderer, replace(sampling, top_k=None)) | {
            "top_k": -1 if sampling.top_k is None else sampling.top_k,
            "stop_token_ids": list(renderer.stop_ids),
            "include_stop_str_in_output": True,
            "return_token_ids": True,
            "add_special_tokens": False,
        }

    def check_version(self) -> str:
        """The server's version.

        Raises:
            ServerError: it is older than the first that returns token ids, or says none.
        """
        version = str(self._json("GET", f"{self._root}/version").get("version", ""))
        numbers = tuple(int(part) for part in version.partition("+")[0].split(".")[:3] if part.isdigit())
        if numbers < FIRST_VERSION:
            raise self._error(
                f"is vLLM {version or 'of no version'}, which returns no token ids",
                mend=f"Serve with vLLM {'.'.join(map(str, FIRST_VERSION))} or newer.",
            )
        return version

    def load(self, directory: str | Path, *, version: str) -> None:
        """Load weights from a directory, as `Policy.save` writes it, and forget what was cached under the old ones.

        Raises:
            ServerError: it does not take weights, or could not read these.
        """
        path = str(Path(directory).resolve())
        request = {"method": "reload_weights", "kwargs": {"weights_path": path}}
        try:
            self._json("POST", f"{self._root}/collective_rpc", request)
            self._json("POST", f"{self._root}/reset_prefix_cache")
        except ServerError as error:
            mend = "Start vLLM with VLLM_SERVER_DEV_MODE=1, in a version whose reload_weights takes a path."
            raise self._error(f"did not load {path}: {error.what}", mend=mend) from error
        self.version = version

    @property
    def _root(self) -> str:
        return self._url.removesuffix("/v1")
