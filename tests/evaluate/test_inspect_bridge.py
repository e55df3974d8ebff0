"""inspect's tasks on a policy, and our tasks in inspect: the same numbers as our own run. Needs the extra."""

from __future__ import annotations

import gc
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from accord.errors import ConfigError
from accord.evaluate import Task, axis, each, generate, loglikelihood, mean_estimate, measure
from accord.evaluate.bridges.inspecting import inspect_model, inspect_task
from accord.evaluate.subjects import policy_subject
from accord.policy.load import load_policy
from accord.policy.policy import Policy
from accord.record import Group
from accord.testing import tiny_model

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("inspect_ai") is None, reason="the extra inspect is not installed"),
    pytest.mark.filterwarnings("ignore"),  # inspect's own, of what it imports
]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return load_policy(tiny_model(tmp_path_factory.mktemp("model")))


def lengths() -> Task:
    def score(item: Group) -> dict[str, float | None]:
        text = item.responses[0].text
        return {"long": float(len(text) > 3), "letters": float(len(text)) if "3" not in item.prompt_text() else None}

    items = [Group(f"Say {n}.", id=f"n{n}") for n in range(5)]
    axes = [axis("long"), axis("letters", higher_is_better=None, unit="letters")]
    return Task("lengths of answers", items, ask=generate(max_tokens=6), score=each(score), axes=axes)


def run(task: Any, model: Any, place: Path) -> Any:
    import inspect_ai

    (log,) = inspect_ai.eval(task, model=model, log_dir=str(place), display="none")
    assert log.status == "success", log.error
    gc.collect()  # inspect leaves streams open, which would be reported after the tests
    return log


def test_our_task_in_inspect_has_our_numbers(policy: Policy, tmp_path: Path) -> None:
    log = run(inspect_task(lengths()), inspect_model(policy, name="tiny"), tmp_path)
    own = measure(lengths(), policy_subject(policy, name="tiny"))
    values = {sample.id: sample.scores["scored"].value for sample in log.samples}
    for item in own.items:
        assert item.values["long"] == values[item.id]["long"]
        assert item.values["letters"] is None or item.values["letters"] == values[item.id]["letters"]
    metrics = {score.name: score.metrics["mean"].value for score in log.results.scores}
    assert metrics["long"] == pytest.approx(own.estimates["long"].mean)


def test_their_task_on_a_policy_has_log_probabilities(policy: Policy, tmp_path: Path) -> None:
    import inspect_ai
    from inspect_ai.dataset import Sample
    from inspect_ai.model import GenerateConfig
    from inspect_ai.scorer import includes

    task = inspect_ai.Task(
        dataset=[Sample(input="Say a.", target="a")],
        scorer=includes(),
        config=GenerateConfig(max_tokens=4, temperature=0.0),
    )
    log = run(task, inspect_model(policy, name="tiny"), tmp_path)
    (choice,) = log.samples[0].output.choices
    said = policy_subject(policy).answering()
    assert said is not None
    assert 1 <= len(choice.logprobs.content) <= 4
    assert all(one.logprob <= 0 for one in choice.logprobs.content)


def test_what_inspect_cannot_do_is_said() -> None:
    from dataclasses import replace

    with pytest.raises(ConfigError, match="reports no mean"):
        inspect_task(replace(lengths(), ask=loglikelihood(), axes=[axis("x", statistic="ratio", columns=("a", "b"))]))


def test_clustered_errors_equal_theirs() -> None:
    """Half the interval is Student's quantile times the standard error that inspect has."""
    from inspect_ai.scorer import SampleScore, Score, stderr

    rng = np.random.default_rng(0)
    clusters = rng.integers(0, 12, 60)
    values = rng.normal(size=12)[clusters] + rng.normal(size=60)
    scores = [
        SampleScore(score=Score(value=float(value)), sample_metadata={"of": int(cluster)})
        for value, cluster in zip(values, clusters, strict=True)
    ]
    own = mean_estimate(values, clusters.tolist())
    half = (own.high - own.low) / 2
    assert half / float(stats.t.ppf(0.975, 11)) == pytest.approx(stderr(cluster="of")(scores), rel=1e-9)
