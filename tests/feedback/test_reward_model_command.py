"""`accord reward`: any file of Groups, one model, several, values, steps; what it says and what it writes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

from accord.cli.app import main
from accord.feedback.ensemble import Ensemble
from accord.policy.heads import Head, RewardHead, StepHead
from accord.policy.load import load_policy
from accord.recipes.reward import BestOf, Judges, Summary, load_judges, score_groups
from accord.recipes.reward_table import render
from accord.record import Feedback, Group, Response, read_groups, write_groups
from accord.record.steps import response_of_steps
from accord.testing import preference_groups, scored_groups, tiny_model


def saved(path: Path, head: Head, seed: int) -> str:
    policy = load_policy(tiny_model(path / "base", "llama", seed=seed))
    torch.manual_seed(seed)
    for parameter in head.parameters():
        nn.init.normal_(parameter)
    policy.reward_head = head
    policy.save(path / "model")
    return str(path / "model")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("models")
    heads: dict[str, Head] = {
        "members/member-0": RewardHead(32),
        "members/member-1": RewardHead(32),
        "named": RewardHead(32, ("helpfulness", "wit")),
        "steps": StepHead(32),
    }
    return {name: saved(root / name, head, seed) for seed, (name, head) in enumerate(heads.items())}


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    path = tmp_path / "pairs.jsonl"
    write_groups(path, preference_groups(70))
    return str(path)


def shown(summary: Summary) -> str:
    screen = Console(record=True, width=160)
    for part in render(summary):
        screen.print(part)
    return screen.export_text()


def test_one_model_scores_a_file(
    models: dict[str, str], pairs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scored.jsonl"
    assert main(["reward", "--model", models["members/member-0"], "--data", pairs, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "140 responses to 70 prompts" in said
    assert "of 70 preferences in the data" in said
    assert "sure of 70 comparisons" in said
    scored = list(read_groups(out))
    assert len(scored) == 70
    assert all(len(group.scores() or ()) == 2 for group in scored)
    assert list(scored[0].preferences()) == list(preference_groups(1)[0].preferences())


def test_scoring_again_replaces_the_scores(models: dict[str, str]) -> None:
    judges = load_judges([models["members/member-0"]])
    once = score_groups(preference_groups(3), judges).groups
    assert score_groups(once, judges).groups == once


def test_a_directory_of_members_is_an_ensemble(models: dict[str, str]) -> None:
    judges = load_judges([str(Path(models["members/member-0"]).parents[1])], combine="lower", k=0.5)
    assert isinstance(judges.ensemble, Ensemble)
    summary = score_groups(scored_groups(6, responses=4), judges)
    assert summary.disagreement is not None
    assert summary.contested is not None
    group = summary.groups[0]
    meta = next(one.meta["members"] for one in group.feedback if "members" in one.meta)
    assert [name for name, _ in meta] == ["members-member-0", "members-member-1"]
    first, second = (row[0] for _, row in meta)
    overall, uncertainty = group.scores(), group.scores("uncertainty")
    assert overall is not None
    assert uncertainty is not None
    assert uncertainty[0] == pytest.approx(abs(first - second) / 2)
    assert overall[0] == pytest.approx((first + second) / 2 - 0.5 * abs(first - second) / 2)
    assert "members differ on the best response" in shown(summary)


def test_a_reference_brings_every_member_to_zero(models: dict[str, str]) -> None:
    reference = scored_groups(5, seed=3)
    judges = load_judges([models["members/member-0"], models["members/member-1"]], reference=reference)
    assert score_groups(reference, judges).scores.mean == pytest.approx(0.0, abs=1e-4)


def test_named_values_stand_beside_the_score(
    models: dict[str, str], pairs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scored.jsonl"
    command = ["reward", "--model", models["named"], "--data", pairs, "--limit", "4", "--out", str(out)]
    assert main([*command, "--weights", "helpfulness=2", "wit=-1"]) == 0
    for group in read_groups(out):
        overall, helpful, wit = (group.scores(name) for name in ("overall", "named/helpfulness", "named/wit"))
        assert overall is not None
        assert helpful is not None
        assert wit is not None
        assert overall[0] == pytest.approx(2 * float(helpful[0] or 0) - float(wit[0] or 0), abs=1e-4)


def test_steps_are_judged_and_compared_with_labels(models: dict[str, str]) -> None:
    labels = (Feedback("human", step_scores=((1.0, 0.0), (), (1.0,))),)
    solved = Group("2 + 3 + 1?", (response_of_steps(["a", "b"]), Response("x\ny"), response_of_steps(["c"])), labels)
    judges = load_judges([models["steps"]], solution="product")
    summary = score_groups([solved], judges)
    (group,) = summary.groups
    judged = group.feedback[1].step_scores
    assert judged is not None
    assert [len(row) for row in judged] == [2, 2, 1]
    overall = group.scores()
    assert overall is not None
    assert overall[1] == pytest.approx(float(judged[1][0] or 0) * float(judged[1][1] or 0))
    assert summary.step_accuracy is not None
    assert summary.step_accuracy.n == 3
    assert score_groups(summary.groups, judges).groups == summary.groups
    assert "of 3 labelled steps judged right" in shown(summary)


def test_the_best_of_n_by_hand(models: dict[str, str]) -> None:
    judges = load_judges([models["members/member-0"]])
    summary = score_groups(scored_groups(4, responses=3), judges)
    assert [one.n for one in summary.best_of] == [1, 2, 3]
    rows = [sorted(value or 0.0 for value in group.scores() or ()) for group in summary.groups]

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    one, two, three = summary.best_of
    assert one.score.mean == pytest.approx(mean([mean(row) for row in rows]))
    assert two.score.mean == pytest.approx(mean([(row[1] + 2 * row[2]) / 3 for row in rows]))
    assert three.score.mean == pytest.approx(mean([row[2] for row in rows]))
    assert (one.divergence, three.divergence) == pytest.approx((0.0, 1.0986 - 2 / 3), abs=1e-3)
    assert isinstance(two, BestOf)


def test_one_response_leaves_no_choice(models: dict[str, str]) -> None:
    summary = score_groups([Group("?", (Response("a"),)), Group("?", (Response("b"),))], load_judges([models["steps"]]))
    assert summary.best_of == []
    assert isinstance(load_judges([models["steps"]]), Judges)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--data", "{pairs}"], "--model: required"),
        (["--model", "{rm}"], "--data: required"),
        (["--model", "{rm}", "--data", "{pairs}", "--weights", "wit"], "'wit' is not NAME=WEIGHT"),
        (["--model", "{rm}", "--data", "{pairs}", "--weights", "wit=1"], "no value 'wit'. It has overall"),
        (["--model", "{rm}", "{steps}", "--data", "{pairs}"], "some judge responses and some judge steps"),
        (["--model", "{steps}", "--data", "{pairs}", "--reference", "{pairs}"], "--reference: has no effect"),
        (["--model", "{rm}", "--data", "{prompts}"], "prompts but no responses"),
        (["--model", "{base}", "--data", "{pairs}"], "a language model and no reward model"),
        (["--model", "{rm}", "--data", "{pairs}", "--limit", "0"], "--limit: must be 1 or more"),
    ],
)
def test_mistakes_are_one_sentence(
    models: dict[str, str],
    pairs: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    complaint: str,
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    write_groups(prompts, [Group("a bare prompt")])
    rm, steps = models["members/member-0"], models["steps"]
    base = str(Path(rm).parent / "base")
    names = {"rm": rm, "steps": steps, "pairs": pairs, "prompts": str(prompts), "base": base}
    assert main(["reward", *(argument.format(**names) for argument in arguments)]) == 2
    assert complaint in capsys.readouterr().err
