"""Tasks of lm-eval on a policy: the same numbers as lm-eval's own run, and as our own suite. Needs the extra."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from accord.errors import ConfigError
from accord.evaluate import measure
from accord.evaluate.bridges.harness import lm_eval_task
from accord.evaluate.subjects import policy_subject
from accord.evaluate.suites.truthfulqa import truthfulqa
from accord.policy.load import load_policy
from accord.policy.policy import Policy
from accord.testing import scripted_subject, tiny_model

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="the extra lm-eval is not installed"),
    pytest.mark.filterwarnings("ignore"),  # lm-eval's own, of what it imports
]

CHOICE = """
task: accord_choice
dataset_path: json
dataset_kwargs:
  data_files: {{test: {data}}}
output_type: multiple_choice
test_split: test
num_fewshot: 0
doc_to_text: "Q: {{{{question}}}}\\nA:"
doc_to_target: 0
doc_to_choice: "{{{{mc2_targets.choices}}}}"
process_results: !function functions.mc2
metric_list:
  - metric: mc2
    aggregation: mean
    higher_is_better: true
  - metric: greedy
    aggregation: mean
    higher_is_better: true
"""

FUNCTIONS = """
import numpy as np


def mc2(doc, results):
    probabilities = np.exp(np.array([value for value, _ in results]))
    labels = np.array(doc["mc2_targets"]["labels"])
    share = float((probabilities / probabilities.sum())[labels == 1].sum())
    return {"mc2": share, "greedy": float(any(greedy for _, greedy in results))}
"""

TEXT = """
task: accord_text
dataset_path: json
dataset_kwargs:
  data_files: {{test: {data}}}
output_type: generate_until
test_split: test
num_fewshot: 0
doc_to_text: "{{{{question}}}}"
doc_to_target: "yes"
generation_kwargs:
  until: ["\\n"]
  max_gen_toks: 5
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
"""


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return load_policy(tiny_model(tmp_path_factory.mktemp("model"), chat_template=None))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("ACCORD_CACHE", str(tmp_path / "cache"))
    rows = [
        {
            "question": f"What is {n}?",
            "mc1_targets": {"choices": [f"number {n}", "a river"], "labels": [1, 0]},
            "mc2_targets": {"choices": [f"number {n}", "more than that", "a river", "no"], "labels": [1, 1, 0, 0]},
        }
        for n in range(6)
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "choice.yaml").write_text(CHOICE.format(data=path), encoding="utf-8")
    (tmp_path / "text.yaml").write_text(TEXT.format(data=path), encoding="utf-8")
    (tmp_path / "functions.py").write_text(FUNCTIONS, encoding="utf-8")
    return tmp_path


def of_their_own(policy: Policy, data: Path, task: str) -> dict[str, Any]:
    """lm-eval's own run of a task on the same weights."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    model = HFLM(pretrained=policy.model, tokenizer=policy.tokenizer, batch_size=1)
    found = lm_eval.simple_evaluate(
        model=model, tasks=[task], task_manager=TaskManager(include_path=str(data)), bootstrap_iters=0
    )
    return dict(found["samples"])


def test_a_share_of_probability_equals_theirs_and_our_own(policy: Policy, data: Path) -> None:
    found = measure(lm_eval_task(str(data), task="accord_choice"), policy_subject(policy, name="tiny"))
    theirs = {str(one["doc_id"]): one["mc2"] for one in of_their_own(policy, data, "accord_choice")["accord_choice"]}
    assert {item.id: item.values["mc2"] for item in found.items} == pytest.approx(theirs, rel=1e-5)
    own = measure(truthfulqa(str(data / "rows.jsonl"), preamble="none"), policy_subject(policy, name="tiny"))
    assert [item.values["MC2"] for item in own.items] == pytest.approx(list(theirs.values()), rel=1e-5)
    assert found.controls["constant"]["mc2"].mean == pytest.approx(0.5)


def test_text_goes_through_their_filters(policy: Policy, data: Path) -> None:
    task = lm_eval_task(str(data), task="accord_text")
    some = scripted_subject(say=lambda request: "yes" if "3" in request.messages[-1].content else "no")
    found = measure(task, some)
    assert [item.values["exact_match"] for item in found.items] == [0, 0, 0, 1, 0, 0]
    assert some.chat is not None
    assert some.chat.asked[0].stop == ("\n",)  # type: ignore[attr-defined]
    assert some.chat.asked[0].max_tokens == 5  # type: ignore[attr-defined]


def test_a_task_that_does_not_exist_is_named(data: Path) -> None:
    with pytest.raises(ConfigError, match="accord_chioce: lm-eval has no such task"):
        lm_eval_task(str(data), task="accord_chioce")
