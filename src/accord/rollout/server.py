"""Rollouts from an OpenAI-compatible server of completions, vLLM among them.

Prompts go as token ids, so that the server reads what the trainer will read. A server that returns the ids it sampled
(vLLM does) gives responses that can be trained on as they are; from others there is text alone, and a warning says so.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
import numpy as np
from msgspec.structs import replace

from accord.chat.client import openai_library, said_by
from accord.errors import AccordError, ConfigError
from accord.policy.chat import Renderer
from accord.policy.sample import Progress, Sampling
from accord.record import Group, Response


class ServerError(AccordError):
    """A rollout server cannot be reached, refused, or answered what cannot be used."""


class RolloutServer(Protocol):
    """Somewhere else that answers prompts.

    Attributes:
        version: of the weights that it answers with; `None` before it was given any.
    """

    version: str | None

    def rollout(
        self,
        renderer: Renderer,
        groups: Sequence[Group],
        *,
        n: int,
        sampling: Sampling,
        places: Sequence[int] | None = None,
        progress: Progress | None = None,
    ) -> list[Group]:
        """The same prompts with `n` sampled responses each, as `accord.rollout.rollout` gives them."""
        ...

    def load(self, directory: str | Path, *, version: str) -> None:
        """Answer with the weights of a model directory from now on; responses carry the version."""
        ...


class _Logprobs(msgspec.Struct):
    token_logprobs: list[float | None] | None = None


class _Choice(msgspec.Struct):
    text: str
    finish_reason: Literal["stop", "length"]
    index: int = 0
    token_ids: list[int] | None = None
    logprobs: _Logprobs | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice]


class CompletionServer:
    """A server of `/v1/completions`.

    Args:
        url: up to and including `/v1`.
        model: the name it serves the model under; the first that it lists, if not given.
        api_key: sent with every request.
        parallel: requests under way at a time; each is one prompt with all of its samples.
        timeout: seconds without a byte of an answer.
        retries: attempts after one that failed: no connection, a late answer, 408, 409, 429, 5xx or an answer that
            cannot be read; each waits longer than the one before, or as long as the server asks.

    Attributes:
        version: of the weights that answer, written on every response.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        api_key: str = "none",
        parallel: int = 16,
        timeout: float = 600.0,
        retries: int = 5,
    ) -> None:
        openai = openai_library("rollout servers")
        if not url.startswith(("http://", "https://")) or parallel < 1 or timeout <= 0 or retries < 0:
            raise ConfigError(
                "needs a URL of http or https, parallel of 1 or more, a timeout above 0 and retries of 0 or more",
                where=f"rollout server {url}",
            )
        self._url, self._model, self._parallel, self._retries = url.rstrip("/"), model, parallel, retries
        self._client = openai.OpenAI(base_url=self._url, api_key=api_key, timeout=timeout, max_retries=retries)
        self._takes_ids = True
        self.version: str | None = None

    def rollout(
        self,
        renderer: Renderer,
        groups: Sequence[Group],
        *,
        n: int,
        sampling: Sampling,
        places: Sequence[int] | None = None,
        progress: Progress | None = None,
    ) -> list[Group]:
        """The same prompts with `n` sampled responses each; feedback and earlier responses are left out.

        Args:
            renderer: writes the prompts; must be the model's own.
            groups: whose prompts to answer.
            n: responses a prompt.
            sampling: how to draw. The server has random numbers of its own, seeded for each prompt.
            places: a number for each Group, from which with the seed that of its prompt follows; by default its index.
            progress: told how many responses are finished, of how many.

        Raises:
            ConfigError: the server cannot draw in this way.
            ServerError: it refused, or failed at every attempt; names it.
            DataError: the chat template refuses a prompt; names its row.
        """
        prompts = [renderer.encode_prompt(group.prompt, origin=group.origin) for group in groups]
        settings = self._settings(renderer, sampling)
        model = self._served_model()
        answered: dict[int, Group] = {}
        with ThreadPoolExecutor(self._parallel) as threads:
            under_way = {}
            for index, prompt in enumerate(prompts):
                place = index if places is None else places[index]
                seed = int(np.random.default_rng((sampling.seed, place)).integers(2**31))
                body = {"model": model, "seed": seed, **settings}
                under_way[threads.submit(self._choices, renderer, prompt, body, n)] = index
            try:
                for done in as_completed(under_way):
                    index = under_way[done]
                    responses = tuple(self._response(renderer, groups[index], choice) for choice in done.result())
                    answered[index] = replace(groups[index], responses=responses, feedback=())
                    if progress is not None:
                        progress(len(answered) * n, len(groups) * n)
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                raise
        return [answered[index] for index in range(len(groups))]

    def load(self, directory: str | Path, *, version: str) -> None:
        """See `RolloutServer.load`; the OpenAI interface has no such request.

        Raises:
            ServerError: always.
        """
        raise self._error("takes no new weights", mend="Serve the model with vLLM, or sample in the process.")

    def _settings(self, renderer: Renderer, sampling: Sampling) -> dict[str, Any]:
        """What a request says about drawing."""
        if sampling.top_k is not None:
            raise ConfigError(
                "the OpenAI interface has no top-k", where="--top-k", mend="Leave it out, or serve by vLLM."
            )
        common: dict[str, Any] = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "logprobs": 1,
        }
        return common | ({"stop": list(sampling.stop)} if sampling.stop else {})

    def _choices(self, renderer: Renderer, prompt: tuple[int, ...], body: dict[str, Any], n: int) -> list[_Choice]:
        """`n` choices for one prompt; some servers give fewer at a time than they are asked for."""
        choices: list[_Choice] = []
        while len(choices) < n:
            missing = n - len(choices)
            choices += self._ask_in_ids(renderer, prompt, body | {"n": missing, "seed": body["seed"] + len(choices)})
        return choices

    def _ask_in_ids(self, renderer: Renderer, prompt: tuple[int, ...], body: dict[str, Any]) -> list[_Choice]:
        """The prompt goes as ids; as text to a server that refuses ids but takes that."""
        import openai

        if self._takes_ids:
            try:
                return self._ask(body | {"prompt": list(prompt)})
            except openai.APIStatusError as error:
                if error.status_code not in (400, 422):
                    raise self._failure(error) from error
        try:
            answer = self._ask(body | {"prompt": renderer.decode(prompt)})
        except openai.APIStatusError as error:
            raise self._failure(error) from error
        self._takes_ids = False
        return answer

    def _ask(self, body: dict[str, Any]) -> list[_Choice]:
        import openai

        for _ in range(self._retries + 1):
            try:
                received = self._client.completions.with_raw_response.create(
                    **{name: body[name] for name in _STANDARD if name in body},
                    extra_body={name: value for name, value in body.items() if name not in _STANDARD},
                )
                choices = msgspec.json.decode(received.content, type=_Answer).choices
                fault = None if 1 <= len(choices) <= body["n"] else f"{len(choices)} choices, not {body['n']}"
            except openai.APIConnectionError as error:
                raise self._failure(error) from error
            except msgspec.DecodeError as error:
                fault = str(error)
            if fault is None:
                return sorted(choices, key=lambda choice: choice.index)
        raise self._error(f"answered what cannot be read ({fault}), at the last of {self._retries + 1} attempts")

    def _response(self, renderer: Renderer, group: Group, choice: _Choice) -> Response:
        finished = choice.finish_reason == "stop"
        if choice.token_ids is None:
            warnings.warn(
                f"the rollout server {self._url} returns no token ids: its responses are text alone", stacklevel=2
            )
            return Response(choice.text, finished=finished, version=self.version)
        logprobs = choice.logprobs.token_logprobs if choice.logprobs else None
        if logprobs is not None and (len(logprobs) != len(choice.token_ids) or None in logprobs):
            raise self._error(f"answered with {len(logprobs)} log-probabilities for {len(choice.token_ids)} tokens")
        return Response(
            renderer.text_of(choice.token_ids, prompt=group.prompt),
            tokens=tuple(choice.token_ids),
            logprobs=None if logprobs is None else tuple(value for value in logprobs if value is not None),
            finished=finished,
            version=self.version,
        )

    def _served_model(self) -> str:
        if self._model is None:
            models = self._json("GET", f"{self._url}/models").get("data") or []
            if not models or not isinstance(models[0], dict) or "id" not in models[0]:
                raise self._error("lists no model", mend="Name the model.")
            self._model = str(models[0]["id"])
        return self._model

    def _json(self, method: Literal["GET", "POST"], url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """A request beside completions; an answer that is no object counts as an empty one."""
        import openai

        try:
            if method == "GET":
                received = self._client.get(url, cast_to=object)
            else:
                received = self._client.post(url, body=body, cast_to=object)
        except (openai.APIStatusError, openai.APIConnectionError) as error:
            raise self._failure(error) from error
        except ValueError as error:
            raise self._error(f"answered what is no JSON ({error}) to {url}") from error
        return received if isinstance(received, dict) else {}

    def _failure(self, error: Exception) -> ServerError:
        return self._error(said_by(error, timeout=self._client.timeout))

    def _error(self, what: str, *, mend: str = "See that it runs and serves this model.") -> ServerError:
        return ServerError(what, where=f"rollout server {self._url}", mend=mend)


_STANDARD = ("model", "prompt", "n", "seed", "temperature", "top_p", "max_tokens", "logprobs", "stop")
"""Fields of the OpenAI interface; others are a server's own."""
