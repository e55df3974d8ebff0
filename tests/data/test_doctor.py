"""The doctor finds what is wrong, says where, and training drops exactly what it lists."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from accord.data import Dataset, check, prepare, read
from accord.data.report import DataReport
from accord.data.show import render
from accord.errors import DataError
from accord.record import Encoded, EncodedResponse, Feedback, Group, Origin, Preference, Response

DPO = ("policy", "reference", "mask", "prefer")
KTO = ("policy", "reference", "mask", "label", "mismatched_kl")
SFT = ("policy", "mask")
END = 256


class ByteEncoder:
    """One token a byte, and an end-of-sequence token behind every response; refuses prompts that start with a bang."""

    def encode(self, group: Group) -> Encoded:
        if group.prompt_text().startswith("!"):
            raise DataError("the template refuses it")
        responses = [
            (*response.text.encode(), END) if response.tokens is None else response.tokens
            for response in group.responses
        ]
        encoded = tuple(EncodedResponse(tokens, (True,) * len(tokens)) for tokens in responses)
        return Encoded(tuple(group.prompt_text().encode()), encoded)

    def decode(self, tokens: tuple[int, ...] | list[int]) -> str:
        return "".join("<end>" if token == END else chr(token) for token in tokens)

    def describe(self) -> dict[str, str]:
        return {"chat_template": "none", "eos": "<end>"}


def pair(prompt: str, chosen: str, rejected: str, line: int | None = None, path: str = "a.jsonl") -> Group:
    return Group(
        prompt,
        (Response(chosen), Response(rejected)),
        (Feedback("human", preferences=(Preference(0, 1),)),),
        origin=None if line is None else Origin(path, line),
    )


def places(report: DataReport) -> dict[str, Sequence[str]]:
    return {finding.kind: finding.places for finding in report.findings}


def test_every_fault_is_named_with_its_line() -> None:
    groups = [
        pair("p1", "good", "bad", 1),
        pair("p2", "same", "same", 2),
        pair("p3", "  ", "bad", 3),
        pair("", "good", "bad", 4),
        pair("p1", "good", "bad", 5),
        pair("p1", "bad", "good", 6),
        pair("p1", "other", "words", 1, path="b.jsonl"),
        pair("!p", "a", "b", 8),
        pair("p9", "x" * 50, "y", 9),
    ]
    prepared = prepare(Dataset.of(groups), needs=DPO, encoder=ByteEncoder(), max_length=40)
    report = prepared.report
    assert places(report) == {
        "identical pair": ("a.jsonl:2",),
        "empty response": ("a.jsonl:3",),
        "empty prompt": ("a.jsonl:4",),
        "duplicate": ("a.jsonl:5",),
        "contradictory pair": ("a.jsonl:6",),
        "prompt in several files": ("b.jsonl:1",),
        "cannot be encoded": ("a.jsonl:8",),
        "overlong": ("a.jsonl:9",),
    }
    assert report.rows == 9
    assert report.kept == 5
    assert report.dropped == {"identical pair": 1, "empty response": 1, "cannot be encoded": 1, "overlong": 1}
    assert [str(group.origin) for group in prepared.groups] == [
        "a.jsonl:1",
        "a.jsonl:4",
        "a.jsonl:5",
        "a.jsonl:6",
        "b.jsonl:1",
    ]


def test_encoded_is_parallel_to_the_groups_that_stay() -> None:
    groups = [pair("p", "same", "same"), pair("q", "good", "bad"), pair("r", "", "bad"), pair("s", "fine", "poor")]
    prepared = prepare(Dataset.of(groups), needs=DPO, encoder=ByteEncoder(), max_length=None)
    assert [group.prompt for group in prepared.groups] == ["q", "s"]
    assert prepared.encoded == [ByteEncoder().encode(group) for group in prepared.groups]


def test_a_row_with_two_overlong_responses_is_one_finding() -> None:
    groups = [pair("p", "x" * 30, "y" * 30, 1), pair("p", "a", "b", 2)]
    report = prepare(Dataset.of(groups), needs=DPO, encoder=ByteEncoder(), max_length=20).report
    (finding,) = report.findings
    assert (finding.kind, finding.count, finding.places) == ("overlong", 1, ("a.jsonl:1",))


def test_the_axis_can_be_chosen() -> None:
    axes = {"helpfulness": Preference(0, 1), "safety": Preference(1, 0)}
    feedback = tuple(Feedback("human", preferences=(one,), meta={"axis": axis}) for axis, one in axes.items())
    dataset = Dataset.of([Group("p", (Response("a"), Response("b")), feedback)])
    prepared = prepare(dataset, needs=DPO, encoder=ByteEncoder(), max_length=None, axis="safety")
    assert list(prepared.groups[0].preferences()) == [Preference(1, 0)]


def test_overlong_responses_are_cut_and_counted() -> None:
    groups = [pair("prompt", "x" * 20, "short", 1), pair("p" * 30, "good", "bad", 2)]
    prepared = prepare(Dataset.of(groups), needs=DPO, encoder=ByteEncoder(), max_length=16, overlong="truncate")
    (ids,) = prepared.encoded
    assert len(ids.prompt) + len(ids.responses[0].tokens) == 16
    assert END not in ids.responses[0].tokens
    assert ids.responses[1].tokens[-1] == END
    assert prepared.report.responses_cut == 1
    assert prepared.report.dropped == {"overlong": 1}


def test_a_pair_that_cutting_makes_identical_is_dropped() -> None:
    groups = [pair("p", "x" * 30 + "good", "x" * 30 + "bad"), pair("p", "a", "b")]
    prepared = prepare(Dataset.of(groups), needs=DPO, encoder=ByteEncoder(), max_length=20, overlong="truncate")
    assert [group.responses[0].text for group in prepared.groups] == ["a"]
    assert prepared.report.dropped == {"identical pair": 1}


def test_cutting_keeps_sampled_tokens_and_log_probabilities_in_step() -> None:
    response = Response("abcd", tokens=(97, 98, 99, 100), logprobs=(-1.0, -2.0, -3.0, -4.0))
    dataset = Dataset.of([Group("pp", (response,))])
    prepared = prepare(dataset, needs=SFT, encoder=ByteEncoder(), max_length=5, overlong="truncate")
    cut = prepared.groups[0].responses[0]
    assert cut.tokens == prepared.encoded[0].responses[0].tokens == (97, 98, 99)
    assert cut.logprobs == (-1.0, -2.0, -3.0)
    assert not cut.finished


def test_one_bad_response_of_many_does_not_cost_the_group() -> None:
    group = Group(
        "p",
        (Response("best"), Response("x" * 99), Response("worst")),
        (Feedback("judge", scores={"overall": (3.0, 2.0, 1.0)}),),
    )
    prepared = prepare(Dataset.of([group]), needs=DPO, encoder=ByteEncoder(), max_length=50)
    (kept,) = prepared.groups
    assert [response.text for response in kept.responses] == ["best", "worst"]
    assert list(kept.preferences()) == [Preference(0, 1)]
    assert len(prepared.encoded[0].responses) == 2
    assert prepared.report.responses_removed == {"overlong": 1}
    assert prepared.report.dropped == {}


def test_identical_everywhere_refuses_to_train() -> None:
    groups = [pair(f"p{line}", "same", "same", line) for line in (1, 2, 3)]
    with pytest.raises(DataError, match=r"a\.jsonl:1: nothing is left to train on: of 3 rows .*3 identical pair"):
        prepare(Dataset.of(groups), needs=DPO, encoder=ByteEncoder(), max_length=None)


def test_a_row_of_200k_tokens_is_left_out_and_named(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    rows = [{"prompt": "p", "completion": "x" * 200_000}, {"prompt": "p", "completion": "short"}]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    prepared = prepare(read([str(path)]), needs=SFT, encoder=ByteEncoder(), max_length=4096)
    assert len(prepared.groups) == 1
    assert places(prepared.report)["overlong"] == (f"{path}:1",)
    assert prepared.report.lengths["response tokens"].longest == 200_001


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_scores_that_are_no_numbers_stop(value: float) -> None:
    feedback = Feedback("reward_model", scores={"overall": (value, 1.0)})
    group = Group("p", (Response("a"), Response("b")), (feedback,), origin=Origin("a.jsonl", 7))
    with pytest.raises(DataError, match=r"a\.jsonl:7: score 'overall' is NaN or infinite"):
        prepare(Dataset.of([group]), needs=("policy", "mask", "score"), encoder=ByteEncoder(), max_length=None)


def test_groups_without_what_the_objective_needs_are_named() -> None:
    groups = [pair("p", "a", "b", 1), Group("q", (Response("only one"),), origin=Origin("a.jsonl", 2))]
    report = prepare(Dataset.of(groups), needs=DPO, encoder=ByteEncoder(), max_length=None).report
    assert places(report)["nothing usable"] == ("a.jsonl:2",)
    assert report.dropped == {"nothing usable": 1}
    with pytest.raises(DataError, match="nothing is left to train on"):
        prepare(Dataset.of(groups[1:]), needs=DPO, encoder=ByteEncoder(), max_length=None)


def test_a_soft_label_is_no_contradiction() -> None:
    feedback = Feedback("human", preferences=(Preference(0, 1, 0.8), Preference(1, 0, 0.2)))
    group = Group("p", (Response("a"), Response("b")), (feedback,))
    assert check(Dataset.of([group])).findings == ()


def test_length_bias_has_a_wilson_interval() -> None:
    groups = [pair(f"p{i}", "long answer", "short") for i in range(15)] + [pair(f"q{i}", "a", "bb") for i in range(5)]
    bias = check(Dataset.of([*groups, pair("r", "xx", "yy")])).length_bias
    assert bias is not None
    assert (bias.pairs, bias.longer_wins, bias.unit) == (20, 0.75, "characters")
    # Wilson 1927: (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n) with z = 1.959964
    assert bias.low == pytest.approx(0.5313, abs=1e-4)
    assert bias.high == pytest.approx(0.8881, abs=1e-4)


def test_labels_are_enough_for_kto_and_lost_preferences_are_said() -> None:
    report = prepare(Dataset.of([pair("p", "a", "b")]), needs=KTO, encoder=ByteEncoder(), max_length=None).report
    assert report.notes[0].startswith("labels from preferences: 1 of 1 groups; lost: which response was compared")


def test_check_needs_no_tokenizer_and_no_objective() -> None:
    report = check(Dataset.of([pair("p q", "a", "bb"), Group("r")]))
    assert report.kinds == {"preferences": 1, "prompts": 1}
    assert report.lengths["prompt words"].longest == 2
    assert "prompt tokens" not in report.lengths
    assert report.trained_tokens is None


def test_the_report_is_plain_json_and_shows_the_trained_tokens() -> None:
    prepared = prepare(Dataset.of([pair("ask", "tell", "no")]), needs=SFT, encoder=ByteEncoder(), max_length=None)
    data = msgspec.json.decode(msgspec.json.encode(prepared.report))
    assert data["example"] == [{"text": "ask", "part": "prompt"}, {"text": "tell<end>", "part": "trained"}]
    assert data["trained_tokens"] == 5
    assert any("1 of 1 rows are used" in line for line in prepared.report.lines())


def test_hostile_text_stays_text_on_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "hostile.jsonl"
    row = {"prompt": "[bold]\x1b]0;owned\x07 \u202e", "completion": "[link=http://x]click[/link]"}
    path.write_text(json.dumps(row))
    prepared = prepare(read([str(path)]), needs=SFT, encoder=ByteEncoder(), max_length=None)
    out = io.StringIO()
    Console(file=out, width=200, force_terminal=True, color_system="truecolor").print(render(prepared.report))
    shown = out.getvalue()
    assert "\x1b]0;" not in shown
    assert "\u202e" not in shown
    assert "\\x1b]0;owned\\x07" in shown
    assert "[link=http://x]click[/link]" in shown


def test_progress_counts_every_group() -> None:
    seen: list[int] = []
    groups = [pair(f"p{i}", "a", "b") for i in range(5)]
    prepare(Dataset.of(groups), needs=DPO, encoder=ByteEncoder(), max_length=None, progress=seen.append)
    assert sum(seen) == 5


def test_a_row_of_the_wrong_kind_says_what_it_has_and_what_is_needed() -> None:
    labelled = Group("p", (Response("a"),), (Feedback("dataset", labels=(True,)),), origin=Origin("a.jsonl", 1))
    bare = Group("q", (Response("b"),), origin=Origin("a.jsonl", 2))
    report = check(Dataset(groups=[labelled, bare]), needs=("policy", "reference", "mask", "prefer"))
    messages = [finding.message for finding in report.findings if finding.kind == "nothing usable"]
    assert messages == ["the row has labels, the objective learns from preferences"]
