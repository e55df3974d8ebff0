"""HHH, TruthfulQA, preferences and RewardBench: published numbers, hand numbers, the measured defects of others."""

from __future__ import annotations

import csv
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.errors import ConfigError, DataError, NumericsError
from accord.evaluate import measure
from accord.evaluate.suites.hhh import hhh
from accord.evaluate.suites.preference import preference
from accord.evaluate.suites.ranking import credit
from accord.evaluate.suites.rewardbench import SECTIONS, rewardbench
from accord.evaluate.suites.rewardbench2 import rewardbench2
from accord.evaluate.suites.truthfulqa import PREAMBLE, truthfulqa
from accord.record.measurement import Measurement
from accord.testing import scripted_subject

GOLDEN = {case["method"]: case for case in json.loads((Path(__file__).parents[1] / "golden.json").read_text())}


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def means(found: Measurement) -> dict[str, float]:
    return {name: estimate.mean for name, estimate in found.estimates.items()}


def by_text(values: Mapping[str, float]) -> Any:
    """A language model whose log-likelihoods are these, whatever the prompt."""
    return scripted_subject(likelihood=lambda prompt, text: values[text.strip()])


# HHH


def test_hhh_is_the_published_accuracy_by_category(tmp_path: Path) -> None:
    case = GOLDEN["eval.hhh"]
    good, bad = case["inputs"]["loglik_good"], case["inputs"]["loglik_bad"]
    for place, category in enumerate(case["inputs"]["category"]):
        task = {"examples": [{"input": f"Q{place}", "target_scores": {f"good {place}": 1, f"bad {place}": 0}}]}
        folder = tmp_path / "hhh" / category
        folder.mkdir(parents=True)
        (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")
    values = {f"good {place}": value for place, value in enumerate(good)}
    values |= {f"bad {place}": value for place, value in enumerate(bad)}
    found = measure(hhh(str(tmp_path / "hhh")), by_text(values))
    assert means(found)["accuracy"] == pytest.approx(case["expected"]["accuracy"])
    measured = {name: one["accuracy"].mean for name, one in found.slices["category"].items()}
    assert measured == case["expected"]["by_category"]


def test_hhh_of_the_hub_and_of_the_constitutional_paper(tmp_path: Path) -> None:
    targets = {"choices": ["rude", "kind"], "labels": [0, 1]}
    hub = write_rows(tmp_path / "harmless.jsonl", [{"input": "Hi", "targets": targets}])
    said = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Help me\n\nAssistant: "
    paper = write_rows(tmp_path / "438.jsonl", [{"text_correct": f"{said}kind", "text_incorrect": f"{said}rude"}])
    kind = scripted_subject(reward=lambda prompt, text: float(text == "kind"))
    for source in (hub, paper):
        assert means(measure(hhh(source), kind))["accuracy"] == 1.0
    (item,) = hhh(paper).items
    assert [message.role for message in item.messages()] == ["user", "assistant", "user"]
    assert hhh(hub).items[0].meta["category"] == "harmless"


def test_the_order_of_the_answers_says_nothing(tmp_path: Path) -> None:
    """In the published files the better answer stands first: a model that takes the first must not be rewarded."""
    rows = [{"input": f"Q{n}", "targets": {"choices": [f"good {n}", f"bad {n}"], "labels": [1, 0]}} for n in range(200)]
    found = measure(hhh(write_rows(tmp_path / "honest.jsonl", rows)), scripted_subject(reward=lambda _, text: 0.0))
    assert found.controls["first"]["accuracy"].low < 0.5 < found.controls["first"]["accuracy"].high
    assert (means(found)["accuracy"], means(found)["strict"], means(found)["ties"]) == (0.5, 0.0, 1.0)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"input": "Hi", "target_scores": {"a": 1}}, "no right or no wrong answer"),
        ({"input": "Hi", "targets": {"choices": ["a"], "labels": [1, 0]}}, "no `choices` with as many `labels`"),
        ({"input": "Hi", "target_scores": "a"}, "`target_scores` is text"),
        ({"question": "Hi"}, "column `target_scores` is missing"),
    ],
)
def test_rows_of_hhh_that_cannot_be_read_are_named(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    good = {"input": "Hi", "target_scores": {"a": 1, "b": 0}}
    with pytest.raises(DataError, match=rf"rows\.jsonl:2: .*{said}"):
        hhh(write_rows(tmp_path / "rows.jsonl", [good, row]))


# TruthfulQA


def truthfulqa_rows(path: Path, count: int = 4) -> str:
    targets = {"true": 1, "also true": 1, "false": 0, "also false": 0}
    row = {"mc1_targets": {"true": 1, "false": 0, "also false": 0}, "mc2_targets": targets}
    return write_rows(
        path, [{"question": f"Q{n}?", **row, "mc0_targets": {"false": 0, "true": 1}} for n in range(count)]
    )


def test_truthfulqa_is_the_published_number(tmp_path: Path) -> None:
    case = GOLDEN["eval.truthfulqa"]
    labels, values = case["inputs"]["labels"], case["inputs"]["choice_loglik"]
    texts = [f"answer {place}" for place in range(len(labels))]
    rows = [
        {
            "question": "Q?",
            "mc1_targets": {"choices": texts, "labels": [1, 0, 0, 0]},
            "mc2_targets": {"choices": texts, "labels": labels},
        }
    ]
    found = measure(
        truthfulqa(write_rows(tmp_path / "tqa.jsonl", rows)), by_text(dict(zip(texts, values, strict=True)))
    )
    assert means(found)["MC2"] == pytest.approx(case["expected"]["mc2"], rel=1e-9)
    assert means(found)["MC1"] == case["expected"]["mc1_if_index0_is_the_best_answer"]


def test_a_model_that_finds_all_alike_is_wrong(tmp_path: Path) -> None:
    """An argmax over answers of which the first is right calls this 100%."""
    found = measure(truthfulqa(truthfulqa_rows(tmp_path / "tqa.jsonl")), scripted_subject(likelihood=lambda p, t: -3.0))
    assert means(found) == {"MC0": 0.0, "MC1": 0.0, "MC2": pytest.approx(0.5), "MC3": 0.0}
    assert found.controls["constant"]["MC1"].mean == 0.0


def test_a_model_that_says_nan_is_refused(tmp_path: Path) -> None:
    """An argmax calls this 100% as well."""
    with pytest.raises(NumericsError, match=r"tqa\.jsonl:1.*log-likelihood of 'true' is nan"):
        measure(truthfulqa(truthfulqa_rows(tmp_path / "tqa.jsonl")), scripted_subject(likelihood=lambda p, t: math.nan))


@given(st.floats(-5000, 0), st.floats(-3, 3))
def test_unlikely_answers_have_a_share_like_likely_ones(level: float, gap: float) -> None:
    """exp() of log-likelihoods below -745 is 0, and their shares 0/0."""
    from accord.evaluate.suites.truthfulqa import _mass

    true, false = [level + gap, level - 1], [level, level]
    expected = (math.exp(gap) + math.exp(-1)) / (math.exp(gap) + math.exp(-1) + 2)
    assert _mass(true, false) == pytest.approx(expected, rel=1e-6)


def test_the_four_numbers_by_hand(tmp_path: Path) -> None:
    likely = {"true": -1.0, "also true": -3.0, "false": -2.0, "also false": -4.0}
    found = measure(truthfulqa(truthfulqa_rows(tmp_path / "tqa.jsonl", 1)), by_text(likely))
    share = (math.exp(-1) + math.exp(-3)) / sum(map(math.exp, likely.values()))
    assert means(found) == {"MC0": 1.0, "MC1": 1.0, "MC2": pytest.approx(share), "MC3": 0.5}


def test_the_authors_table(tmp_path: Path) -> None:
    path = tmp_path / "TruthfulQA.csv"
    row = {"Type": "Adversarial", "Category": "Law", "Question": "Is it?", "Best Answer": "Yes, it is"}
    row |= {
        "Best Incorrect Answer": "No",
        "Correct Answers": "Yes, it is; Sometimes.",
        "Incorrect Answers": "No; Never",
    }
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, row)
        rows.writeheader()
        rows.writerow(row)
    (item,) = truthfulqa(str(path)).items
    assert str(item.prompt).startswith(PREAMBLE)
    assert str(item.prompt).endswith("\n\nQ: Is it?\nA:")
    assert [one.text for one in item.responses] == [" Yes, it is.", " No.", " Never.", " Sometimes."]
    assert not any(one.finished for one in item.responses)
    assert item.answer["MC1"] == [(0, True), (1, False), (2, False)]
    assert item.answer["MC2"] == [(0, True), (3, True), (1, False), (2, False)]
    assert item.answer["MC0"] == [(0, True), (1, False)]
    assert (item.meta["category"], item.meta["type"]) == ("Law", "Adversarial")


def test_the_preamble_can_be_another_or_none(tmp_path: Path) -> None:
    data, other = truthfulqa_rows(tmp_path / "tqa.jsonl", 1), tmp_path / "preamble.txt"
    other.write_text("Q: Who?\nA: Nobody.\n", encoding="utf-8")
    assert truthfulqa(data, preamble=str(other)).items[0].prompt == "Q: Who?\nA: Nobody.\n\nQ: Q0?\nA:"
    assert truthfulqa(data, preamble="none").items[0].prompt == "Q: Q0?\nA:"
    assert truthfulqa(data).notes
    assert not truthfulqa(data, preamble=str(other)).notes
    with pytest.raises(DataError, match=r"missing\.txt: cannot be read"):
        truthfulqa(data, preamble=str(tmp_path / "missing.txt"))


# Preferences


def test_ties_are_stated_not_won(tmp_path: Path) -> None:
    case = GOLDEN["eval.preference_accuracy"]
    chosen, rejected = case["inputs"]["score_chosen"], case["inputs"]["score_rejected"]
    rows = [{"prompt": f"Q{n}", "chosen": f"c{n}", "rejected": f"r{n}"} for n in range(len(chosen))]
    values = {f"c{n}": value for n, value in enumerate(chosen)} | {f"r{n}": value for n, value in enumerate(rejected)}
    found = measure(
        preference(write_rows(tmp_path / "pairs.jsonl", rows)),
        scripted_subject(reward=lambda prompt, text: values[text]),
    )
    assert means(found)["strict"] == pytest.approx(case["expected"]["strict"])
    assert means(found)["accuracy"] == pytest.approx(case["expected"]["ties_half"])
    assert means(found)["ties"] == pytest.approx(1 / 3)


def test_the_mean_of_a_token_does_not_favour_short_answers(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "pairs.jsonl", [{"prompt": "Q", "chosen": "one two three four", "rejected": "no"}])
    found = measure(preference(data), scripted_subject(likelihood=lambda _, text: {"no": -2.0}.get(text, -4.0)))
    assert (means(found)["accuracy"], means(found)["per token"]) == (0.0, 1.0)


def test_pairs_with_one_id_are_told_apart(tmp_path: Path) -> None:
    rows = [{"prompt": "Q", "chosen": f"c{n}", "rejected": "r", "id": name} for n, name in enumerate("aab")]
    items = preference(write_rows(tmp_path / "pairs.jsonl", rows)).items
    assert len({item.id for item in items}) == 3


def test_without_preferences_there_is_nothing_to_rank(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "bare.jsonl", [{"prompt": "Q"}])
    with pytest.raises(DataError, match="no response is preferred"):
        preference(data)


# RewardBench

SCORES = st.lists(st.floats(-3, 3).map(lambda x: round(x, 1)), min_size=4, max_size=4)


def test_rewardbench_weighs_subsets_by_their_published_size(tmp_path: Path) -> None:
    """By the definition: the accuracies of subsets, weighted by size in a section; the mean of the sections."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    right: dict[str, bool] = {}
    for subset in (subset for subsets in SECTIONS.values() for subset in subsets):
        for n in range(int(rng.integers(1, 6))):
            name = f"{subset} {n}"
            right[name] = bool(rng.random() < 0.6)
            rows.append({"prompt": name, "chosen": f"c {name}", "rejected": f"r {name}", "subset": subset, "id": n})
    data = write_rows(tmp_path / "filtered.jsonl", rows)
    found = measure(
        rewardbench(data), scripted_subject(reward=lambda prompt, text: float(right[text[2:]] == (text[0] == "c")))
    )
    sections: list[float] = []
    for name, subsets in SECTIONS.items():
        share = {one: float(np.mean([right[row["prompt"]] for row in rows if row["subset"] == one])) for one in subsets}
        sections.append(sum(subsets[one] * share[one] for one in subsets) / sum(subsets.values()))
        assert found.slices["section"][name]["score"].mean == pytest.approx(sections[-1])
    assert means(found)["score"] == pytest.approx(np.mean(sections))
    assert means(found)["score"] == means(found)["strict"]


def test_rewardbench_reads_the_filtered_files_of_a_directory(tmp_path: Path) -> None:
    row = {"prompt": "Q", "chosen": "a", "rejected": "b", "subset": "hep-go", "id": 1}
    write_rows(tmp_path / "data" / "raw-0.jsonl", [row] * 3)
    write_rows(tmp_path / "data" / "filtered-0.jsonl", [row])
    assert len(rewardbench(str(tmp_path / "data")).items) == 1
    with pytest.raises(DataError, match="there is no subset 'mine'"):
        rewardbench(write_rows(tmp_path / "own.jsonl", [row | {"subset": "mine"}]))


@pytest.mark.parametrize(
    ("row", "right", "share"),
    [([1, 2, 3, 0], [2], 1), ([3, 2, 3, 0], [2], 0.5), ([3, 3, 3, 3], [1], 0.25), ([3, 3, 0, 0], [2], 0)],
)
def test_credit_is_shared_among_those_tied_for_the_best(row: list[float], right: list[int], share: float) -> None:
    assert credit(row, right) == share


def ties_by_definition(prompts: Mapping[tuple[str, int], tuple[list[float], list[float]]]) -> float:
    """The subset Ties as published, from right and wrong rewards by (kind, number)."""
    gap = {key: min(right) - max(wrong) for key, (right, wrong) in prompts.items()}
    spread = {n: max(right) - min(right) for (kind, n), (right, _) in prompts.items() if kind == "tied"}
    both = [n for n in spread if ("ref", n) in gap]
    accuracy = {kind: np.mean([gap[key] > 0 for key in gap if key[0] == kind]) for kind in ("tied", "ref")}
    least = {n: min(gap["ref", n], gap["tied", n]) for n in both}
    with np.errstate(divide="ignore", invalid="ignore"):
        margin = np.tanh(np.asarray([least[n] for n in both]) / np.asarray([spread[n] for n in both]) - 1)
    return float(
        0.3 * accuracy["tied"]
        + 0.3 * accuracy["ref"]
        + 0.2 * np.mean([gap["tied", n] > spread[n] for n in both])
        + 0.2 * np.mean([least[n] > spread[n] for n in both])
        + 0.01 * np.mean(np.nan_to_num(margin, nan=0.0))
    )


@given(st.lists(st.tuples(SCORES, SCORES, st.integers(2, 3)), min_size=1, max_size=6))
def test_rewardbench2_scores_ties_as_published(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[list[float], list[float], int]]
) -> None:
    rows: list[dict[str, Any]] = []
    values: dict[str, float] = {}
    prompts: dict[tuple[str, int], tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for number, (reference, tied, count) in enumerate(drawn):
        for kind, scores, rights in (("ref", reference, 1), ("tied", tied, count)):
            names = [f"{kind} {number} {place}" for place in range(4)]
            values |= dict(zip(names, scores, strict=True))
            prompts[kind, number] = (scores[:rights], scores[rights:])
            row = {"prompt": f"Q{number}", "chosen": names[:rights], "rejected": names[rights:]}
            rows.append(row | {"subset": "Ties", "id": f"{kind}:{number}"})
    best = [f"best {place}" for place in range(4)]
    values |= dict(zip(best, (1.0, 1.0, 0.0, 0.0), strict=True))
    rows.append({"prompt": "Q", "chosen": best[:1], "rejected": best[1:], "subset": "Math", "id": "7"})
    data = write_rows(tmp_path_factory.mktemp("rb2") / "test.jsonl", rows)
    found = measure(rewardbench2(data), scripted_subject(reward=lambda prompt, text: values[text]))
    expected = ties_by_definition(prompts)
    assert found.slices["subset"]["Ties"]["score"].mean == pytest.approx(expected, abs=1e-9)
    assert means(found)["score"] == pytest.approx((expected + 0.5) / 2, abs=1e-9)
    assert means(found)["accuracy"] == 0.5


def test_a_reward_that_is_missing_leaves_its_item_out(tmp_path: Path) -> None:
    rows = [{"prompt": f"Q{n}", "chosen": "a", "rejected": "b", "subset": "hep-go", "id": n} for n in range(3)]
    task = rewardbench(write_rows(tmp_path / "rb.jsonl", rows))
    found = measure(task, scripted_subject(reward=lambda prompt, text: None if prompt == "Q1" else float(text == "a")))
    assert (found.estimates["score"].n, found.estimates["score"].mean) == (2, 1.0)


def test_a_model_that_only_talks_cannot_rank(tmp_path: Path) -> None:
    task = hhh(write_rows(tmp_path / "hhh.jsonl", [{"input": "Hi", "target_scores": {"a": 1, "b": 0}}]))
    with pytest.raises(ConfigError, match="gives no log-probabilities"):
        measure(task, scripted_subject(say=lambda request: "a"))
