"""Choosing among scored responses: which are kept, which are paired, and the command's words and errors."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.cli.app import main
from accord.data.select import best_of_n, best_of_n_divergence, certain_pairs, rejection_sampled, threshold_of
from accord.record import Feedback, Group, Response, read_groups, write_groups

SCORES = st.lists(st.floats(-3.0, 3.0), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def golden() -> dict[str, dict[str, Any]]:
    cases = json.loads((Path(__file__).parents[1] / "golden.json").read_text())
    return {case["method"]: case for case in cases}


def scored(*scores: float | None, texts: str | None = None, prompt: str = "p") -> Group:
    names = texts or "".join(chr(97 + index) for index in range(len(scores)))
    feedback = (Feedback("reward_model", "rm", scores={"overall": scores}),)
    return Group(prompt, tuple(Response(name) for name in names), feedback)


def texts(group: Group | None) -> str:
    return "" if group is None else "".join(response.text for response in group.responses)


def test_the_published_pairs(golden: dict[str, dict[str, Any]]) -> None:
    case = golden["rsdpo.published_pdgrs"]
    inputs, expected = case["inputs"], case["expected"]
    paired = certain_pairs(scored(*inputs["rewards"]), certainty=inputs["eta"], temperature=inputs["tau"])
    assert paired is not None
    assert [[p.better, p.worse] for p in paired.preferences()] == expected["accepted_pairs_[chosen,rejected]"]
    assert paired.feedback[0].name == "rm"
    assert not paired.feedback[0].scores


def test_how_far_the_best_of_n_are(golden: dict[str, dict[str, Any]]) -> None:
    case = golden["bon.kl"]
    assert best_of_n_divergence(case["inputs"]["n"]) == pytest.approx(case["expected"]["kl_upper"], rel=1e-12)
    assert best_of_n_divergence(1) == 0.0


@given(SCORES, st.floats(0.5, 0.99), st.integers(1, 4))
def test_a_limit_keeps_the_most_certain_pairs(scores: list[float], certainty: float, most: int) -> None:
    group = scored(*scores)
    free, limited = (certain_pairs(group, certainty=certainty, most=limit) for limit in (None, most))
    if free is None:
        assert limited is None
        return
    assert limited is not None
    gaps = [
        sorted(group_scores[texts(one)[p.better]] - group_scores[texts(one)[p.worse]] for p in one.preferences())[::-1]
        for one in (free, limited)
        for group_scores in [dict(zip(texts(group), scores, strict=True))]
    ]
    assert gaps[1] == pytest.approx(gaps[0][:most])
    assert all(1.0 / (1.0 + math.exp(-gap)) > certainty - 1e-9 for gap in gaps[0])
    assert {index for p in limited.preferences() for index in (p.better, p.worse)} == set(range(len(limited.responses)))


@given(SCORES)
def test_the_best_of_all_is_the_best(scores: list[float]) -> None:
    best = best_of_n(scored(*scores))
    assert texts(best) == chr(97 + max(range(len(scores)), key=lambda index: (scores[index], -index)))


def test_equal_texts_count_once_and_missing_scores_not_at_all() -> None:
    group = scored(0.9, 0.9, None, 0.1, texts="xxyz")
    assert texts(best_of_n(group, keep=3)) == "xz"
    assert texts(rejection_sampled(group, threshold=0.0, most=4)) == "xz"
    assert best_of_n(scored(None)) is None
    assert certain_pairs(scored(0.9, 0.9, texts="xx"), certainty=0.5) is None


def test_a_share_is_of_all_prompts_together() -> None:
    groups = [scored(0.9, 0.8, 0.7, 0.6), scored(0.1, 0.2, 0.3, 0.4, prompt="q")]
    threshold = threshold_of(groups, 0.25)
    assert threshold == 0.8
    assert [texts(rejection_sampled(group, threshold=threshold, most=9)) for group in groups] == ["ab", ""]
    assert threshold_of([Group("p")], 0.5) is None


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "scored.jsonl"
    write_groups(path, [scored(0.9, -1.5, 0.2, prompt="one"), scored(0.1, 0.1, 0.1, prompt="two")])
    return path


@pytest.mark.parametrize(
    ("command", "said", "kept"),
    [
        (["best-of-n"], "2 responses to 2 of 2 prompts", ["a", "a"]),
        (["raft", "--threshold", "0.15"], "2 responses to 1 of 2 prompts", ["ac"]),
        (["raft", "--share", "0.2"], "kept from a score of 0.9 on", ["a"]),
        (["rs-dpo", "--certainty", "0.85"], "1 pair of 2 responses to 1 of 2 prompts", ["ab"]),
    ],
)
def test_the_command(
    command: list[str], said: str, kept: list[str], file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "selected.jsonl"
    assert main(["select", *command, "--data", str(file), "--out", str(out)]) == 0
    assert said in capsys.readouterr().out
    assert [texts(group) for group in read_groups(out)] == kept


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["rs-dpo", "--certainty", "1"], "--certainty: 1.0 is out of range. Give at least 0.5 and below 1."),
        (["best-of-n", "--keep", "0"], "--keep: 0 is out of range"),
        (["raft", "--share", "2"], "--share: 2.0 is out of range"),
        (["raft", "--threshold", "7"], "nothing of 2 groups is selected"),
    ],
)
def test_what_is_refused(
    flags: list[str], message: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["select", *flags, "--data", str(file), "--out", str(tmp_path / "out.jsonl")]) == 2
    assert message in capsys.readouterr().err


def test_data_without_scores_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "plain.jsonl"
    write_groups(path, [Group("p", (Response("a"),))])
    assert main(["select", "best-of-n", "--data", str(path), "--out", str(tmp_path / "out.jsonl")]) == 2
    assert "no response has a score to select by" in capsys.readouterr().err
