"""inspect: its tasks on a policy of Accord, and Accord's tasks in inspect.

    inspect_ai.eval("theory_of_mind.py", model=inspect_model(policy))
    inspect_ai.eval(inspect_task(world(prompts=100)), model="openai/gpt-4o")

A policy answers one request at a time, with the log-probabilities of what it sampled. A task is asked and scored by
Accord's own functions, whatever they do in between; a task that needs log-likelihoods of given text cannot be had, for
inspect's models give none.

Needs the extra `inspect`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from accord.chat.types import Progress, Reply, Request
from accord.errors import ConfigError
from accord.evaluate.measure import with_ids
from accord.evaluate.subject import Subject
from accord.evaluate.summary import MEAN
from accord.evaluate.task import Task
from accord.policy.policy import Policy
from accord.policy.sample import Sampling
from accord.record import Group, Message, Response
from accord.rollout import rollout

ITEM = "accord_item"
"""Entry of a sample's metadata: the item, and after it was answered the item with its answers."""

LONGEST = 512
"""Tokens of an answer where inspect's configuration names no limit."""


def inspect_model(policy: Policy, *, name: str = "policy") -> Any:
    """A policy as a model of inspect.

    Args:
        policy: who answers.
        name: what its logs call it.

    Raises:
        ConfigError: inspect is not installed.
    """
    inspect = _library()
    import anyio

    lock = anyio.Lock()

    @inspect.model.modelapi(name="accord")
    class PolicyAPI(inspect.model.ModelAPI):  # type: ignore[misc, name-defined]
        """Answers inspect's requests by sampling from the policy."""

        async def generate(self, input: Any, tools: Any, tool_choice: Any, config: Any) -> Any:  # noqa: A002
            if tools:
                raise ConfigError("calls no tools", where=name, mend="Take a task without tools.")
            prompt = tuple(Message(one.role, one.text) for one in input)
            sampling = Sampling(
                temperature=1.0 if config.temperature is None else config.temperature,
                top_p=1.0 if config.top_p is None else config.top_p,
                max_tokens=config.max_tokens or LONGEST,
                seed=config.seed or 0,
                stop=tuple(config.stop_seqs or ()),
            )
            async with lock:  # the model is one; it has nothing to gain from two threads
                (answered,) = await _in_thread(
                    partial(rollout, policy, [Group(prompt)], n=config.num_choices or 1, sampling=sampling)
                )
            return _output(inspect, policy, answered, name)

    return inspect.model.Model(PolicyAPI(model_name=name), inspect.model.GenerateConfig())


def inspect_task(task: Task) -> Any:
    """A task as one of inspect: its axes that are means become metrics.

    Raises:
        ConfigError: inspect is not installed, or no axis is a mean.
    """
    inspect = _library()
    columns = [axis.sources()[0] for axis in task.axes if axis.statistic == MEAN]
    if not columns:
        raise ConfigError("reports no mean, and inspect takes nothing else", where=f"task {task.name}")
    samples = [
        inspect.dataset.Sample(
            input=[_their_message(inspect, one) for one in item.messages()],
            id=item.id,
            metadata={ITEM: msgspec.to_builtins(item)},
        )
        for item in with_ids(task.items, task.name)
    ]

    @inspect.solver.solver  # type: ignore[untyped-decorator]
    def asked() -> Any:
        async def solve(state: Any, generate: Any) -> Any:
            model, item = inspect.model.get_model(), msgspec.convert(state.metadata[ITEM], Group)
            subject = Subject(str(model), str(model), chat=_TheirChat(inspect, model))
            (answered,) = await _in_thread(task.ask, subject, [item])
            state.metadata[ITEM] = msgspec.to_builtins(answered)
            said = answered.responses[0].text if answered.responses else ""
            state.output = inspect.model.ModelOutput.from_content(str(model), said)
            return state

        return solve

    metrics = {name: [inspect.scorer.mean(), inspect.scorer.stderr()] for name in columns}

    @inspect.scorer.scorer(metrics=metrics)  # type: ignore[untyped-decorator]
    def scored() -> Any:
        async def score(state: Any, target: Any) -> Any:
            (values,) = await _in_thread(task.score, [msgspec.convert(state.metadata[ITEM], Group)])
            numbers = {name: values.get(name) for name in columns}
            return inspect.scorer.Score(
                value={name: math.nan if one is None else float(one) for name, one in numbers.items()},
                answer=state.output.completion,
            )

        return score

    return inspect.Task(dataset=samples, solver=asked(), scorer=scored(), name=task.name.replace(" ", "_"))


class _TheirChat:
    """A model of inspect as a Chat, called from a thread of inspect's own loop."""

    def __init__(self, inspect: Any, model: Any) -> None:
        self._inspect, self._model, self.identity = inspect, model, str(model)

    def __call__(self, requests: Sequence[Request], *, progress: Progress | None = None) -> list[Reply]:
        """The replies, in the order of the requests."""
        import anyio.from_thread

        replies = []
        for request in requests:
            if request.choices:
                mend = "Take a task whose answers are text."
                raise ConfigError("gives no probabilities of choices", where=self.identity, mend=mend)
            config = self._inspect.model.GenerateConfig(
                temperature=request.temperature,
                top_p=request.top_p,
                max_tokens=request.max_tokens,
                seed=request.seed,
                stop_seqs=list(request.stop) or None,
            )
            messages = [_their_message(self._inspect, one) for one in request.messages]
            output = anyio.from_thread.run(partial(self._model.generate, messages, config=config))
            replies.append(Reply(output.completion, output.stop_reason != "max_tokens"))
        return replies


def _output(inspect: Any, policy: Policy, answered: Group, name: str) -> Any:
    """Sampled answers with the log-probability of each token."""
    model = inspect.model
    choices = [
        model.ChatCompletionChoice(
            message=model.ChatMessageAssistant(content=one.text, model=name, source="generate"),
            stop_reason="stop" if one.finished else "max_tokens",
            logprobs=model.Logprobs(content=_logprobs(model, policy, one)),
        )
        for one in answered.responses
    ]
    return model.ModelOutput(model=name, choices=choices)


def _logprobs(model: Any, policy: Policy, response: Response) -> list[Any]:
    pairs = zip(response.tokens or (), response.logprobs or (), strict=True)
    return [model.Logprob(token=policy.renderer.decode([token]), logprob=value) for token, value in pairs]


def _their_message(inspect: Any, message: Message) -> Any:
    kinds = {"system": "ChatMessageSystem", "assistant": "ChatMessageAssistant"}
    return getattr(inspect.model, kinds.get(message.role, "ChatMessageUser"))(content=message.content)


async def _in_thread(function: Any, *arguments: Any) -> Any:
    """A function that waits, without holding up inspect's loop; it can call back into it."""
    import anyio.to_thread

    return await anyio.to_thread.run_sync(function, *arguments)


def _library() -> Any:
    try:
        import inspect_ai
        import inspect_ai.dataset
        import inspect_ai.model
        import inspect_ai.scorer
        import inspect_ai.solver
    except ImportError as error:
        mend = "Install it: pip install 'accord[inspect]', in an environment of its own."
        raise ConfigError("tasks of inspect need the inspect-ai package", mend=mend) from error
    return inspect_ai
