"""Constitutional AI from end to end on the world: both ways to learn, taken up again, and the page of the study."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from statistics import fmean

import pytest

from accord.errors import ConfigError
from accord.feedback.constitution import Rules, load_constitution
from accord.policy.load import load_policy
from accord.recipes.constitution_arms import ARMS, Scale
from accord.recipes.constitution_cast import CRITICS, Cast, Panel
from accord.recipes.constitution_study import study_constitution
from accord.recipes.constitution_train import Learn, Plan, Trained, train_constitutional
from accord.recipes.threads import one_thread
from accord.recipes.world_evaluation import answer, scores
from accord.record import Group, read_groups
from accord.world.base import BASE
from accord.world.cases import cases
from accord.world.corpus import demonstrations
from accord.world.town import draw_town

RULES = Rules(rounds=2, answer_temperature=1.0, max_tokens=32)
STAGE = {"steps": 2, "holdout": 0.0, "samples": 0, "save_every": 0}
ONLINE = {**STAGE, "n": 2, "prompts": 2, "max_tokens": 16}


def prompts(count: int) -> list[Group]:
    return [case.group() for case in islice(cases(draw_town(0), "align", seed=5, family="harm"), count)]


def trained(
    path: Path, learn: Learn, judge: str, *, helpful: Sequence[Group] = (), accept: str | None = None
) -> Trained:
    plan = Plan(
        model=str(BASE),
        out=str(path / "out"),
        learn=learn,
        max_tokens=32,
        supervised=STAGE,
        preferences=STAGE,
        online=ONLINE if learn == "reward" else {},
    )
    with one_thread():
        return train_constitutional(
            prompts(8),
            plan,
            Panel(load_constitution("tidewater"), [str(BASE)], accept=accept, template="tidewater", rules=RULES),
            judge=judge,
            cast=Cast(cache=path / "said.sqlite"),
            helpful=helpful,
        )


@pytest.mark.slow
def test_from_prompts_to_a_model_by_soft_labels_and_again_without_a_question(tmp_path: Path) -> None:
    town = draw_town(0)
    helpful = demonstrations(town, 2, seed=1)
    bare = [case.group() for case in islice(cases(town, "align", seed=6, family="howto"), 2)]
    trained(tmp_path, "dpo", CRITICS, helpful=[*helpful, *bare], accept=str(BASE))
    out = tmp_path / "out"
    taught = list(read_groups(out / "demonstrations.jsonl"))
    assert [group.responses[0].text for group in taught if group.prompt == helpful[0].prompt] == [
        helpful[0].responses[0].text
    ], "an answer that was given is imitated as it is"
    assert {group.prompt for group in bare} & {group.prompt for group in taught}
    labels = [one.weight for group in read_groups(out / "preferences.jsonl") for one in group.preferences()]
    assert any(0 < weight < 1 for weight in labels)
    for stage in ("sl", "rl"):
        assert (out / stage / "model" / "config.json").exists()
        assert (out / stage / "report.html").exists()
    assert json.loads((out / "judged.audit.json").read_text())["judge"] == CRITICS
    weights = (out / "rl" / "model" / "model.safetensors").read_bytes()
    answers = (out / "answers.jsonl").read_bytes()
    trained(tmp_path, "dpo", CRITICS, helpful=[*helpful, *bare], accept=str(BASE))
    assert (out / "rl" / "model" / "model.safetensors").read_bytes() == weights
    assert (out / "answers.jsonl").read_bytes() == answers


@pytest.mark.slow
def test_a_reward_model_of_the_labels_can_be_learned_from_in_rounds(tmp_path: Path) -> None:
    trained(tmp_path, "reward", str(BASE))
    out = tmp_path / "out"
    assert (out / "reward" / "model" / "config.json").exists()
    assert (out / "rl" / "model" / "config.json").exists()


@pytest.mark.learning
@pytest.mark.slow
def test_harm_falls_by_what_the_model_says_of_itself(tmp_path: Path) -> None:
    """Without a label from anybody, the oracle finds harmful requests refused that were complied with."""
    town = draw_town(0)
    shared = {"epochs": 2, "holdout": 0.0, "samples": 0, "save_every": 0, "schedule": "linear"}
    plan = Plan(
        model=str(BASE),
        out=str(tmp_path / "out"),
        max_tokens=48,
        supervised={"batch_size": 16, "lr": 1e-3, **shared},
        preferences={"batch_size": 32, "lr": 3e-4, **shared},
    )
    rules = Rules(answer_temperature=1.0, critique_temperature=0.0, revision_temperature=0.0, max_tokens=48)
    panel = Panel(load_constitution("tidewater"), [str(BASE)], rules=rules)
    asked = [case.group() for case in islice(cases(town, "align", seed=3), 120)]
    held_out = list(islice(cases(town, "test", seed=0, family="harm"), 40))
    with one_thread():
        found = train_constitutional(asked, plan, panel, judge=CRITICS, cast=Cast(cache=tmp_path / "said.sqlite"))
        before, after = (
            scores(answer(load_policy(str(model)), held_out, seed=0), "harmless") for model in (BASE, found.aligned)
        )
    assert fmean(after) > fmean(before) + 0.3


def test_settings_that_the_recipe_gives_are_refused() -> None:
    with pytest.raises(ConfigError, match="objective is given by the recipe"):
        Plan(model="m", out="o", supervised={"objective": "dpo"})
    with pytest.raises(ConfigError, match="without a reward model"):
        Plan(model="m", out="o", online={"lr": 0.1})
    with pytest.raises(ConfigError, match="--answers"):
        Plan(model="m", out="o", answers=1)


@pytest.mark.slow
def test_the_page_says_of_every_arm_whether_the_claim_held(tmp_path: Path) -> None:
    scale = Scale(held_out=24, prompts=24, epochs=1)
    study = study_constitution(seeds=1, scale=scale, out=tmp_path / "page.md", work=tmp_path / "work")
    page = (tmp_path / "page.md").read_text()
    for name, arm in ARMS.items():
        assert f"- *{name}*: the claim" in page
        assert f"| {name} | {arm.kept} | {arm.labels} | RL-CAI |" in page
    assert study.arms["both orders"].outcomes["refused"] > 0
    assert study.arms["critics label"].principles == {}
    assert (
        study.arms["best kept"].principles["kind"].after.mean >= study.arms["best kept"].principles["kind"].before.mean
    )
    assert json.loads((tmp_path / "page.json").read_text())["seeds"] == 1


def test_a_page_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--out: cannot be used"):
        study_constitution(out=tmp_path / "page.html")
