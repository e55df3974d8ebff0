"""Advice on data: what it holds is counted, the kind of feedback decides, and every command that is named parses."""

import json
import shlex
from pathlib import Path

import pytest
from msgspec.structs import replace

from accord.cli.app import build_app, main
from accord.cli.train import build_app as build_train
from accord.data import Dataset
from accord.errors import ConfigError
from accord.recipes.advise import Advice, advise
from accord.recipes.evidence import gather
from accord.recipes.fitting import fitting_flags, parse_memory
from accord.record import Feedback, Group, Preference, Response, write_groups
from accord.testing import demonstrations, labelled_groups, preference_groups, scored_groups, tiny_model


def advice_on(groups: list[Group]) -> Advice:
    return advise(gather(Dataset.of(groups)), ["my data.jsonl"], model="M")


def ranked_lists(count: int) -> list[Group]:
    preferences = tuple(Preference(i, j) for i in range(3) for j in range(i + 1, 3))
    return [
        Group(f"p{index}", tuple(map(Response, "abc")), (Feedback("human", preferences=preferences),))
        for index in range(count)
    ]


def by_two(count: int) -> list[Group]:
    groups = preference_groups(count)
    return [
        replace(group, feedback=tuple(replace(one, name="ab"[index % 2]) for one in group.feedback))
        for index, group in enumerate(groups)
    ]


def with_costs(count: int) -> list[Group]:
    return [
        replace(group, feedback=tuple(replace(one, scores=one.scores | {"cost": (0.0,) * 4}) for one in group.feedback))
        for group in scored_groups(count)
    ]


CASES = {
    "preferences": (preference_groups(9), "dpo"),
    "lists": (ranked_lists(9), "dpo"),
    "two annotators": (by_two(9), "group_dpo"),
    "labels": (labelled_groups(9), "kto"),
    "scores": (scored_groups(9), "dpo"),
    "single scores": (scored_groups(9, responses=1), "rwr"),
    "costs": (with_costs(9), "cost_dpo"),
    "demonstrations": (demonstrations(9), "sft"),
    "numbers to check": ([Group("1 + 1?", answer="2"), Group("2 + 2?", answer="4")], "grpo"),
    "probabilities": (
        [Group("p", tuple(map(Response, "ab")), (Feedback("human", distribution=(0.7, 0.3)),))],
        "soft_listwise",
    ),
    "prompts": ([Group("one"), Group("two")], "dpo"),
}


@pytest.mark.parametrize("kind", CASES)
def test_the_kind_of_feedback_decides(kind: str) -> None:
    groups, expected = CASES[kind]
    advice = advice_on(groups)
    assert advice.choices[0].objective == expected
    assert advice.choices[0].groups == len(groups)


@pytest.mark.parametrize("kind", CASES)
def test_every_command_parses(kind: str) -> None:
    for choice in advice_on(CASES[kind][0]).choices:
        for command in choice.commands:
            words = shlex.split(command)[1:]
            if words[0] == "train":
                build_train().parse_args(words[1:], exit_on_error=False)
                assert choice.objective == words[1]
            else:
                build_app().parse_args(words, exit_on_error=False)


def test_the_largest_kind_comes_first() -> None:
    both = [*preference_groups(3), *labelled_groups(8)]
    assert advice_on(both).choices[0].objective == "kto"
    assert {"dpo", "kto"} <= {choice.objective for choice in advice_on(both).choices}


def test_rare_labels_are_weighed_up() -> None:
    groups = [group for index, group in enumerate(labelled_groups(40)) if index % 2 == 0 or index < 20]
    (command,) = advice_on(groups).choices[0].commands
    assert "--undesirable-weight 2" in command


def test_cautions_name_what_was_found() -> None:
    pair = preference_groups(1)[0]
    swapped = replace(pair, feedback=(Feedback("human", preferences=(Preference(1, 0),)),))
    advice = advice_on([pair, pair, swapped])
    assert "--label-smoothing 0.1" in advice.choices[0].commands[0]
    text = " ".join(advice.cautions)
    assert "Contradicting pairs: " in text
    assert "Repeated rows: 1" in text
    assert "3 groups are few" in text
    long = [
        Group(
            f"p{index}",
            (Response("long " * 5), Response("short")),
            (Feedback("human", preferences=(Preference(0, 1),)),),
        )
        for index in range(30)
    ]
    assert "The longer response wins in 100% of 30 pairs" in " ".join(advice_on(long).cautions)


def test_settings_that_fit(tmp_path: Path) -> None:
    model = str(tiny_model(tmp_path, "llama"))
    everything, estimate = fitting_flags(model, 10**12)
    assert everything == ()
    full = estimate.weights + estimate.to_come
    tighter, smaller = fitting_flags(model, full - 1)
    assert tighter[:2] == ("--dtype", "bf16")
    assert smaller.weights + smaller.to_come < full
    with pytest.raises(ConfigError, match=r"--memory: .*does not fit even with adapters"):
        fitting_flags(model, 1)


@pytest.mark.parametrize(("text", "expected"), [("24GB", 24 * 10**9), ("1.5 GiB", 3 * 2**29), ("8", 8 * 10**9)])
def test_amounts_of_memory(text: str, expected: int) -> None:
    assert parse_memory(text) == expected


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, model = tmp_path / "pairs.jsonl", str(tiny_model(tmp_path / "tiny", "llama"))
    write_groups(data, preference_groups(9))
    assert main(["advise", "--data", str(data), "--model", model, "--memory", "24GB"]) == 0
    shown = capsys.readouterr().out
    assert "Best fit: dpo, on 9 groups" in shown
    assert f"$ accord train dpo --model {model} --data {data}" in shown
    assert main(["advise", "--data", str(data), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["evidence"]["preferences"] == 9
    assert main(["advise", "--data", str(data), "--memory", "24GB"]) == 2
    assert "--memory: says nothing without a model" in capsys.readouterr().err
    assert main(["advise", "--data", str(data), "--model", model, "--memory", "much"]) == 2
    assert "'much' is no amount of memory" in capsys.readouterr().err
