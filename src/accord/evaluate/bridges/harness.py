"""Tasks of lm-eval (the LM Evaluation Harness) as tasks of Accord: its items and metrics, our intervals and controls.

An item is one document. Its requests go to the model's log-likelihoods, or to its answers where the task samples text;
lm-eval's own filters and metrics make numbers of what comes back. Only metrics that are means over documents are
reported; others (perplexities, corpus scores) are named in a note.

lm-eval's prompts are plain text: measure with `--chat off` to have them read as they are. Prompt and continuation are
tokenised separately, which differs from lm-eval where a tokenizer joins them.

Needs the extra `lm-eval`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from accord.chat.types import Request
from accord.errors import ConfigError
from accord.evaluate.controls import constant, constant_answer, echo, empty_answer, longest, random
from accord.evaluate.subject import Subject
from accord.evaluate.task import Task, Values, axis
from accord.record import Group, Message, Response

RESULTS = "results"
"""Entry of an answered item's `meta`: what came back for each of its document's requests."""

_RANKERS = (constant(), random(), longest())
_TALKERS = (constant_answer(), empty_answer(), echo())

LONGEST = 256
"""Tokens of an answer where a task names no limit."""


def lm_eval_task(data: str | None = None, *, task: str, shots: int | None = None, seed: int = 1234) -> Task:
    """A task of lm-eval.

    Args:
        data: directory with tasks of yours, as lm-eval's YAML files, beside those that it comes with.
        task: its name.
        shots: solved examples before each question; as the task has it if not given.
        seed: of the draw of examples.

    Raises:
        ConfigError: lm-eval is not installed, or has no such task.
    """
    name, loaded = _loaded(task, data)
    if shots is not None:
        loaded.set_config(key="num_fewshot", value=shots)
    loaded.set_fewshot_seed(seed=seed)
    return task_of(name, loaded, settings={"task": name, "shots": shots, "seed": seed})


def task_of(name: str, loaded: Any, *, settings: dict[str, Any] | None = None) -> Task:
    """A loaded `lm_eval.api.task.Task` as one of Accord's.

    Args:
        name: what it is called.
        loaded: the task.
        settings: what determines its numbers.
    """
    loaded.build_all_requests(rank=0, world_size=1)
    documents: dict[int, list[Any]] = defaultdict(list)
    for instance in loaded.instances:
        documents[instance.doc_id].append(instance)
    means = [metric for metric, how in loaded.aggregation().items() if getattr(how, "__name__", "") == "mean"]
    others = [metric for metric in loaded.aggregation() if metric not in means]
    if not means:
        raise ConfigError(f"has no metric that is a mean (it has {', '.join(others)})", where=f"lm-eval task {name}")
    higher = loaded.higher_is_better()
    harness = _Harness(loaded, {str(place): instances for place, instances in documents.items()})
    return Task(
        name,
        [harness.item(place) for place in harness.documents],
        ask=harness.ask,
        score=harness.score,
        axes=[axis(metric, higher_is_better=higher.get(metric)) for metric in means],
        controls=[constant(), random(), longest()]
        if harness.scores_given
        else [constant_answer(), empty_answer(), echo()],
        settings=settings or {},
        notes=[f"Not reported: {', '.join(others)}, which is no mean over documents."] if others else (),
    )


@dataclass(frozen=True)
class _Harness:
    """A loaded task with its requests by document."""

    loaded: Any
    documents: dict[str, list[Any]]

    @property
    def scores_given(self) -> bool:
        """Whether all requests score given text."""
        return all(one.request_type != "generate_until" for rows in self.documents.values() for one in rows)

    def item(self, place: str) -> Group:
        """A document: the prompt of its first request, and the texts that are scored."""
        instances = self.documents[place]
        texts = [one.args[-1] for one in instances if one.request_type != "generate_until"]
        first = instances[0]
        prompt = "" if first.request_type == "loglikelihood_rolling" else str(first.args[0])
        return Group(prompt, tuple(Response(text) for text in texts), id=place)

    def ask(self, subject: Subject, items: Sequence[Group]) -> list[Group]:
        """Puts every request of the documents to the model."""
        requests = [instance for item in items for instance in self.documents[str(item.id)]]
        scored = [one for one in requests if one.request_type != "generate_until"]
        asked = [one for one in requests if one.request_type == "generate_until"]
        found: dict[int, Any] = {}
        if scored:
            rows = subject.scoring()([_given(one) for one in scored])
            found |= {id(one): _number(one, row[0]) for one, row in zip(scored, rows, strict=True)}
        if asked:
            replies = subject.answering()([_question(one) for one in asked])
            found |= {id(one): reply.text for one, reply in zip(asked, replies, strict=True)}
        return [
            replace(
                item, meta={**item.meta, RESULTS: [found[id(instance)] for instance in self.documents[str(item.id)]]}
            )
            for item in items
        ]

    def score(self, items: Sequence[Group]) -> list[Values]:
        """lm-eval's metrics of the answered documents; of several filters, the first."""
        for instance in self.loaded.instances:
            instance.resps, instance.filtered_resps = [], {}
        answered = {str(item.id): item.meta[RESULTS] for item in items}
        for place, instances in self.documents.items():
            for instance, result in zip(instances, answered.get(place, [None] * len(instances)), strict=True):
                instance.resps = [result] * (instance.repeats or 1)
        chosen = [instance for place in answered for instance in self.documents[place]]
        whole, self.loaded._instances = self.loaded._instances, chosen
        try:
            self.loaded.apply_filters()
        finally:
            self.loaded._instances = whole
        return [self._metrics(self.documents[place]) for place in answered]

    def _metrics(self, instances: Sequence[Any]) -> Values:
        first = next(iter(instances[0].filtered_resps))
        metrics = self.loaded.process_results(instances[0].doc, [one.filtered_resps[first] for one in instances])
        return {name: float(value) for name, value in metrics.items() if isinstance(value, int | float | bool)}


def _given(instance: Any) -> Group:
    """A request that scores text, as an item."""
    if instance.request_type == "loglikelihood_rolling":
        return Group("", (Response(instance.args[0], finished=False),))
    context, continuation = instance.args
    return Group(context, (Response(continuation, finished=False),))


def _number(instance: Any, found: Any) -> Any:
    """What lm-eval expects back."""
    if instance.request_type == "loglikelihood_rolling":
        return found.total
    return found.total, bool(found.greedy)


def _question(instance: Any) -> Request:
    """A request for text."""
    context, settings = instance.args
    stop = settings.get("until") or ()
    return Request(
        (Message("user", context),),
        temperature=float(settings.get("temperature", 0.0)) if settings.get("do_sample") else 0.0,
        max_tokens=int(settings.get("max_gen_toks", LONGEST)),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
    )


def _loaded(task: str, directory: str | None) -> tuple[str, Any]:
    """A task by its name."""
    try:
        from lm_eval.tasks import TaskManager, get_task_dict
    except ImportError as error:
        mend = "Install it: pip install 'accord[lm-eval]'."
        raise ConfigError("tasks of lm-eval need the lm-eval package", mend=mend) from error
    where = f"lm-eval task {task}"
    manager = TaskManager(include_path=directory)
    if task not in manager.all_tasks:
        raise ConfigError("lm-eval has no such task", where=where, mend="lm-eval ls tasks shows them.")
    found = get_task_dict([task], manager)
    leaves = {str(name): one for name, one in found.items() if not isinstance(one, dict)}
    if len(leaves) != 1 or len(found) != 1:
        raise ConfigError("is a group of tasks", where=where, mend="Name one task.")
    return next(iter(leaves.items()))
