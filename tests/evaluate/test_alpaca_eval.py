"""AlpacaEval: its files, both orders and one, the length-controlled number, and what a judge's audit shows."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from accord.chat.spec import ScriptChat
from accord.chat.types import Reply, Request
from accord.errors import ConfigError, DataError
from accord.evaluate import Subject, generate, measure
from accord.evaluate.suites.alpaca_eval import alpaca_eval, compared_with_baseline
from accord.evaluate.suites.alpaca_eval_files import fitted_difficulty, read_all, read_compared
from accord.evaluate.suites.spec import build_task
from accord.feedback.judge.reward_judge import CONTROLS

COUNT = 12
BASELINE = [
    {
        "instruction": f"Question {k}?",
        "output": f"The answer to question {k} of the baseline.",
        "generator": "gpt4_1106_preview",
        "dataset": "koala" if k % 2 else "vicuna",
    }
    for k in range(COUNT)
]


def script(say: Callable[[Request], Reply | str]) -> ScriptChat:
    return ScriptChat(say, name="script")


def subject(say: Callable[[Request], str]) -> Subject:
    return Subject("mine", "mine-1", chat=script(say))


def ours(request: Request) -> str:
    """Longer than the baseline for some questions, and shorter for others."""
    number = int(request.messages[-1].content.removeprefix("Question ").rstrip("?"))
    return f"Mine: {'as I said ' * (number % 5 + 1)}"


def prefers(better: float, place: float = 0.0) -> Callable[[Request], Reply]:
    """A judge of the probability for our answer, and of what it adds for the first place."""

    def say(request: Request) -> Reply:
        text = request.messages[-1].content
        shown = text[text.index("<answer A>") : text.index("</answer A>")]
        p = (better if "Mine" in shown else 1 - better) + place
        return Reply("A", probabilities=(p, 1 - p), mass=1.0)

    return say


def dumped(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text(json.dumps(rows, indent=1))
    return str(path)


@pytest.fixture
def baseline(tmp_path: Path) -> str:
    return dumped(tmp_path / "alpaca_eval_gpt4_baseline.json", BASELINE)


def annotated(path: Path, name: str, preferences: list[float | None], length: int) -> str:
    rows = [
        {
            "instruction": row["instruction"],
            "output_1": row["output"],
            "generator_1": row["generator"],
            "output_2": "x" * (length + k),
            "generator_2": name,
            "annotator": "weighted_alpaca_eval_gpt4_turbo",
            "preference": preference,
        }
        for k, (row, preference) in enumerate(zip(BASELINE, preferences, strict=True))
    ]
    return dumped(path, rows)


def test_both_orders_take_a_preference_for_a_place_away(baseline: str) -> None:
    found = measure(alpaca_eval(baseline, script(prefers(0.7, place=0.2))), subject(ours))
    assert found.estimates["win_rate"].mean == pytest.approx(0.7)
    assert found.estimates["first_shown"].mean == pytest.approx(0.7), "half of 0.9 and 0.5: what the place adds is seen"
    assert found.estimates["consistent"].mean == 0
    assert found.estimates["unread"].mean == 0
    assert found.estimates["length"].mean == pytest.approx(sum(6 + 10 * (k % 5 + 1) for k in range(COUNT)) / COUNT)
    assert found.estimates["length_controlled"].mean == pytest.approx(0.7, abs=0.02)
    assert set(found.slices["dataset"]) == {"koala", "vicuna"}
    assert found.controls["empty answer"]["win_rate"].mean == pytest.approx(0.5), "this judge knows our answers alone"
    assert "not comparable with the published table" in found.notes[0]


def test_one_order_is_drawn_once_an_instruction(baseline: str) -> None:
    asked: list[Request] = []

    def judge(request: Request) -> Reply:
        asked.append(request)
        return prefers(0.8)(request)

    found = measure(alpaca_eval(baseline, script(judge), orders="random", seed=1), subject(ours))
    assert len(asked) == COUNT * 4, "one for each instruction, of the model and of three controls"
    first = ["Mine" in one.messages[-1].content.split("</answer A>")[0] for one in asked[:COUNT]]
    assert 0 < sum(first) < COUNT
    assert found.estimates["win_rate"].mean == pytest.approx(0.8)
    assert found.estimates["first_shown"].mean == pytest.approx((0.8 * sum(first) + 0.2 * (COUNT - sum(first))) / COUNT)
    again = measure(alpaca_eval(baseline, script(prefers(0.8)), orders="random", seed=1), subject(ours))
    assert again.items == found.items


def test_what_is_no_verdict_is_unread(baseline: str) -> None:
    def judge(request: Request) -> Reply | str:
        return "I cannot say." if "Question 3?" in request.messages[-1].content else prefers(1.0)(request)

    for orders in ("both", "random"):
        found = measure(build_task(f"alpaca_eval:orders={orders}", data=baseline, judge=script(judge)), subject(ours))
        assert found.estimates["unread"].mean == pytest.approx(1 / COUNT)
        assert found.estimates["win_rate"].n == COUNT - 1
        assert found.estimates["win_rate"].mean == 1.0


def test_the_same_answer_is_a_tie(baseline: str) -> None:
    by_prompt = {row["instruction"]: row["output"] for row in BASELINE}
    found = measure(
        alpaca_eval(baseline, script(prefers(1.0))), subject(lambda request: by_prompt[request.messages[-1].content])
    )
    assert found.estimates["win_rate"].mean == 0.5
    assert "length_slope" not in found.estimates, "of equal lengths nothing is known"


def test_any_judge_of_pairs_can_compare(baseline: str) -> None:
    task = compared_with_baseline(baseline, CONTROLS["longest"].compare, ask=generate(max_tokens=8))
    assert measure(task, subject(lambda request: "short")).estimates["win_rate"].mean == 0.0
    assert measure(task, subject(lambda request: "long " * 50)).estimates["win_rate"].mean == 1.0


def test_without_overlap_of_lengths_there_is_no_controlled_number(baseline: str, tmp_path: Path) -> None:
    always_long = subject(lambda request: "word " * 400)
    found = measure(alpaca_eval(baseline, script(prefers(0.7))), always_long)
    assert "length_controlled" not in found.estimates
    assert "win_rate" in found.estimates
    assert "length_controlled" not in found.controls["empty answer"], "nor of an answer that is always shorter"


def test_a_judge_of_length_is_exposed_by_its_slope(baseline: str) -> None:
    generator = random.Random(0)
    lengths = {row["instruction"]: generator.randrange(1, 120) for row in BASELINE}

    def by_length(request: Request) -> Reply:
        text = request.messages[-1].content
        first, second = (len(text.partition(f"<answer {side}>\n")[2].partition("\n</answer")[0]) for side in "AB")
        p = 0.5 + (first - second) / 400
        return Reply("", probabilities=(p, 1 - p), mass=1.0)

    says = subject(lambda request: "x" * lengths[request.messages[-1].content])
    task = alpaca_eval(baseline, script(by_length))
    scored = task.score(task.ask(says, task.items))
    longer = [-(row["shorter_by"] or 0.0) for row in scored]
    scale = (sum(one**2 for one in longer) / COUNT) ** 0.5
    moments = sum(row["length_moment"] or 0.0 for row in scored)
    assert moments / sum(row["length_square"] or 0.0 for row in scored) == pytest.approx(scale / 400)
    assert sum(row["length_square"] or 0.0 for row in scored) == pytest.approx(COUNT)
    assert "length_slope" in {one.name for one in task.axes}


def test_difficulties_come_from_other_models(baseline: str, tmp_path: Path) -> None:
    others = tmp_path / "others"
    others.mkdir()
    hard = [1.1 if k < 6 else 1.9 for k in range(COUNT)]
    annotated(others / "a.json", "a", list(hard), 30)
    annotated(others / "b.json", "b", [None, *hard[1:]], 60)
    instructions = [str(row["instruction"]) for row in BASELINE]
    fitted = fitted_difficulty(read_all(str(others)), instructions)
    assert list(fitted) == instructions[1:], "one model alone says nothing of an instruction"
    assert max(fitted[name] for name in instructions[1:6]) < min(fitted[name] for name in instructions[6:])
    found = measure(alpaca_eval(baseline, script(prefers(0.7)), others=str(others)), subject(ours))
    assert found.items[0].values["difficulty"] is None
    assert found.items[1].values["difficulty"] == pytest.approx(fitted[instructions[1]])
    assert "not comparable" not in found.notes[0]
    assert found.estimates["length_controlled"].n == COUNT - 1
    assert found.estimates["win_rate"].n == COUNT
    path = others / "c.json"  # what Accord measured is read as well as AlpacaEval's own files
    path.write_bytes(msgspec.json.encode(found))
    mine = read_compared(path)["Question 1?"]
    assert mine.preference == pytest.approx(0.7)
    assert mine.difference == len(BASELINE[1]["output"]) - len("Mine: as I said as I said ")
    with pytest.raises(DataError, match="cannot be fitted"):
        alpaca_eval(baseline, script(prefers(0.7)), others=str(others / "a.json"))


def test_gamed_baselines_take_part(baseline: str, tmp_path: Path) -> None:
    gamed = tmp_path / "gamed"
    gamed.mkdir()
    annotated(gamed / "verbose.json", "verbose", [1.9 - 0.01 * k for k in range(COUNT)], 400)
    annotated(gamed / "concise.json", "concise", [1.1 + 0.01 * k for k in range(COUNT)], 1)
    plain = measure(alpaca_eval(baseline, script(prefers(0.7))), subject(ours))
    found = measure(alpaca_eval(baseline, script(prefers(0.7)), gamed=str(gamed)), subject(ours))
    assert found.items[0].values["gamed_1"] == pytest.approx(0.9)
    assert found.axes[0].columns[-4:] == ("gamed_0", "gamed_0_shorter_by", "gamed_1", "gamed_1_shorter_by")
    assert found.estimates["win_rate"] == plain.estimates["win_rate"]
    assert found.estimates["length_controlled"] != plain.estimates["length_controlled"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"instruction": "Question 0?", "output": "again"}, "line 2 is there again"),
        ({"instruction": "New?"}, "`output` is missing"),
        ({"instruction": 3, "output": "x"}, "text is expected"),
    ],
)
def test_a_broken_baseline_is_named(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    path = tmp_path / "base.json"
    path.write_text("[\n" + ",\n".join(json.dumps(one) for one in [BASELINE[0], row]) + "\n]\n")
    with pytest.raises(DataError, match=message) as caught:
        alpaca_eval(str(path), script(prefers(0.5)))
    assert f"{path}:3" in str(caught.value)


def test_broken_annotations_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    annotated(path, "a", [3.0] * COUNT, 5)
    with pytest.raises(DataError, match="`preference` is 3, 1 to 2 is expected"):
        read_compared(path)
    rows = json.loads(Path(annotated(path, "a", [1.0] * COUNT, 5)).read_text())
    rows[4]["generator_2"] = "b"
    dumped(path, rows)
    with pytest.raises(DataError, match="comparisons of a and b"):
        read_compared(path)


def test_a_template_that_does_not_compare_is_refused(baseline: str) -> None:
    with pytest.raises(ConfigError, match="compares two answers"):
        alpaca_eval(baseline, script(prefers(0.5)), template="score")
    with pytest.raises(ConfigError, match="needs orders=both"):
        alpaca_eval(baseline, script(prefers(0.5)), template="reasoned", orders="random")
