"""MT-Bench: its files, its turns, ratings that are never guessed, and the rule of both orders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accord.chat.spec import ScriptChat
from accord.chat.types import Request
from accord.errors import DataError
from accord.evaluate import Subject, measure
from accord.evaluate.suites.mt_bench import mt_bench, mt_bench_pairs, rating, verdict, won_in_both_orders
from accord.evaluate.suites.mt_bench_files import read_prompts, read_questions
from accord.evaluate.suites.spec import build_task

GOLDEN = {case["method"]: case for case in json.loads((Path(__file__).parents[1] / "golden.json").read_text())}

QUESTIONS = [
    {"question_id": 81, "category": "writing", "turns": ["Write a line on rain.", "Now make it rhyme."]},
    {"question_id": 101, "category": "math", "turns": ["What is 2+3?", "And twice that?"], "reference": ["5", "10"]},
]


def script(say: Callable[[Request], str]) -> ScriptChat:
    return ScriptChat(say, name="script")


def subject(say: Callable[[Request], str]) -> Subject:
    return Subject("mine", "mine-1", chat=script(say))


def last(request: Request) -> str:
    return request.messages[-1].content


def lines(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def questions(tmp_path: Path) -> str:
    return lines(tmp_path / "question.jsonl", QUESTIONS)


def test_golden_score(tmp_path: Path) -> None:
    case = GOLDEN["eval.mt_bench"]
    first, second = case["inputs"]["turn1"], case["inputs"]["turn2"]
    rows = [{"question_id": k, "category": "stem", "turns": [f"q{k}", f"more {k}"]} for k in range(len(first))]
    ratings = {f"q{k}": n for k, n in enumerate(first)} | {f"more {k}": n for k, n in enumerate(second)}

    def judge(request: Request) -> str:
        asked = next(text for text in reversed(ratings) if text in last(request))
        return f"Rating: [[{ratings[asked]}]]"

    task = mt_bench(lines(tmp_path / "question.jsonl", rows), script(judge))
    found = measure(task, subject(lambda request: "said"))
    assert found.estimates["score"].mean == pytest.approx(case["expected"]["score"])
    for turn, mean in (("1", "turn1_mean"), ("2", "turn2_mean")):
        assert found.slices["turn"][turn]["score"].mean == pytest.approx(case["expected"][mean])


def test_the_second_turn_follows_the_models_own_first_answer(questions: str) -> None:
    asked: list[Request] = []

    def say(request: Request) -> str:
        asked.append(request)
        return f"answer {len(request.messages)} to {last(request)}"

    seen: list[Request] = []

    def judge(request: Request) -> str:
        seen.append(request)
        return "[[7]]"

    found = measure(mt_bench(questions, script(judge)), subject(say))
    assert [[message.content for message in request.messages] for request in asked[:4]] == [
        ["Write a line on rain."],
        ["What is 2+3?"],
        ["Write a line on rain.", "answer 1 to Write a line on rain.", "Now make it rhyme."],
        ["What is 2+3?", "answer 1 to What is 2+3?", "And twice that?"],
    ]
    assert [request.temperature for request in asked[:4]] == [0.7, 0.0, 0.7, 0.0]
    assert all(request.temperature == 0 for request in seen)
    second = seen[1].messages[-1].content
    assert "answer 1 to Write" in second
    assert "answer 3 to Now make it rhyme." in second
    assert [item.cluster for item in found.items] == ["81", "81", "101", "101"]
    assert set(found.slices["category"]) == {"writing", "math"}
    assert found.settings["judge"]["identity"].startswith("script-")


def test_right_answers_are_shown_for_mathematics_alone(questions: str, tmp_path: Path) -> None:
    seen: list[str] = []

    def judge(request: Request) -> str:
        seen.append(last(request))
        return "[[5]]"

    measure(mt_bench(questions, script(judge)), subject(lambda request: "x"))
    assert ["right answer" in one for one in seen[:4]] == [False, False, True, True]
    assert "Second turn: 10" in seen[3]
    other = tmp_path / "gpt.jsonl"
    lines(other, [{"question_id": 101, "choices": [{"index": 0, "turns": ["five", "ten"]}]}])
    assert read_questions(questions, str(other))[1].reference == ("five", "ten")


def test_a_benchmarks_directory_has_its_right_answers(tmp_path: Path) -> None:
    bare = [{key: value for key, value in row.items() if key != "reference"} for row in QUESTIONS]
    lines(tmp_path / "question.jsonl", bare)
    (note,) = mt_bench(str(tmp_path), script(lambda request: "")).notes
    assert note == "judged without a right answer: 1 of math, reasoning, coding"
    answers = tmp_path / "reference_answer"
    answers.mkdir()
    lines(answers / "gpt-4.jsonl", [{"question_id": 101, "choices": [{"index": 0, "turns": ["5", "10"]}]}])
    assert not mt_bench(str(tmp_path), script(lambda r: "")).notes


@pytest.mark.parametrize("said", ["Rating: 7", "[7]", "[[11]]", "[[0]]", "[[3]] or [[4]]", "[[seven]]", ""])
def test_what_is_no_rating_is_unread_and_never_a_number(questions: str, said: str) -> None:
    assert rating(said) is None
    found = measure(
        mt_bench(questions, script(lambda request: said if "rain" in last(request) else "[[8]]")),
        subject(lambda request: "x"),
    )
    assert found.estimates["score"].mean == 8
    assert found.estimates["score"].n == 2
    assert found.estimates["unread"].mean == 0.5
    assert found.items[0].values == {"score": None, "unread": 1.0}


def test_a_pair_is_won_only_in_both_orders() -> None:
    outcomes = {(a, b): won_in_both_orders(a, b) for a in (0.0, 0.5, 1.0) for b in (0.0, 0.5, 1.0)}
    assert [pair for pair, outcome in outcomes.items() if outcome == 1] == [(1.0, 0.0)]
    assert [pair for pair, outcome in outcomes.items() if outcome == 0] == [(0.0, 1.0)]
    assert sum(outcome == 0.5 for outcome in outcomes.values()) == 7
    assert (verdict("So: [[A]]"), verdict("[[B]]"), verdict("[[C]]"), verdict("[[A]] or [[B]]")) == (1, 0, 0.5, None)


def test_pairs_are_shown_in_both_orders(questions: str, tmp_path: Path) -> None:
    baseline = lines(
        tmp_path / "base.jsonl",
        [{"question_id": k, "choices": [{"index": 0, "turns": ["theirs 1", "theirs 2"]}]} for k in (81, 101)],
    )

    def judge(request: Request) -> str:
        text = last(request)
        if "2+3" in text:
            return "[[A]]"  # whatever stands first
        first_is_ours = not 0 <= text.find("theirs") < text.find("ours")
        return "unsure" if "rhyme" in text else "[[A]]" if first_is_ours else "[[B]]"

    task = mt_bench_pairs(questions, script(judge), baseline=baseline)
    found = measure(task, subject(lambda request: "ours"))
    values = [item.values for item in found.items]
    shown = ("win_rate", "won", "lost", "consistent", "first_shown", "unread")
    assert [values[0][name] for name in shown] == [1, 1, 0, 1, 0.5, 0]
    assert values[1] == {"unread": 1}
    assert [values[2][name] for name in shown] == [0.5, 0, 0, 0, 1, 0]
    assert found.estimates["length_slope"].mean == pytest.approx(-1 / 6), "shorter by the same each time: 0.5, 0, 0"
    assert found.estimates["win_rate"].mean == pytest.approx(2 / 3)
    assert found.controls.keys() == {"empty answer", "constant answer", "always refuses"}
    with pytest.raises(DataError, match=r"question.jsonl:2.*no answer to every turn of question 101"):
        mt_bench_pairs(
            questions,
            script(judge),
            baseline=lines(
                tmp_path / "one.jsonl", [json.loads('{"question_id": 81, "choices": [{"turns": ["a", "b"]}]}')]
            ),
        )


def test_fastchats_prompts_can_be_taken(questions: str, tmp_path: Path) -> None:
    rows = [
        {
            "name": name,
            "type": "single",
            "system_prompt": "You are a judge.",
            "prompt_template": "[Question]\n{question}\n[Answer]\n{answer}"
            if "multi" not in name
            else "{question_1} {answer_1} {question_2} {answer_2}",
            "output_format": "[[rating]]",
        }
        for name in ("single-v1", "single-math-v1", "single-v1-multi-turn", "single-math-v1-multi-turn")
    ]
    seen: list[Request] = []

    def judge(request: Request) -> str:
        seen.append(request)
        return "[[5]]"

    path = lines(tmp_path / "judge_prompts.jsonl", rows)
    measure(build_task(f"mt_bench:prompts={path}", data=questions, judge=script(judge)), subject(lambda r: "{answer}"))
    assert [message.content for message in seen[0].messages] == [
        "You are a judge.",
        "[Question]\nWrite a line on rain.\n[Answer]\n{answer}",
    ]
    with pytest.raises(DataError, match="no prompt named 'single-v1-multi-turn'"):
        mt_bench(questions, script(judge), prompts=lines(tmp_path / "few.jsonl", rows[:1]))
    assert len(read_prompts(None)) == 8


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question_id": 81, "category": "writing", "turns": ["a"', "JSON breaks off"),
        ('{"question_id": 81, "category": "writing"}', "`turns` is missing"),
        ('{"question_id": 81, "category": "writing", "turns": []}', "not a list of texts"),
        ('{"question_id": 81, "category": "writing", "turns": ["a", "b", "c"]}', "place for two"),
        ('{"question_id": null, "category": "writing", "turns": ["a"]}', "number or text is expected"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "question.jsonl"
    path.write_text(json.dumps(QUESTIONS[0]) + "\n" + line + "\n")
    with pytest.raises(DataError, match=message) as caught:
        mt_bench(str(path), script(lambda request: ""))
    assert f"{path}:2" in str(caught.value)
