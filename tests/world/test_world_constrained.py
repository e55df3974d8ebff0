"""The constrained task and its study: what pays, what is forbidden, what is learned from demonstrations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from accord.errors import ConfigError, DataError
from accord.objectives.inverse_constraint import Form, inverse_constraint
from accord.policy.load import load_policy
from accord.recipes.constrained_run import LAGRANGIAN, Plan, SeedRun, ways
from accord.recipes.constrained_study import separation, study
from accord.recipes.constrained_task import (
    HELPFUL,
    LAWFUL,
    held_out,
    instructs_where_it_may,
    lawful_demonstrations,
    prompts,
    violates,
)
from accord.recipes.inverse_constraint import THRESHOLDS, infer_constraint, labelled
from accord.record import Group, Response
from accord.train.config import TrainConfig
from accord.world.base import BASE
from accord.world.cases import How, case_of
from accord.world.town import draw_town

TOWN = draw_town(0)


def answered(group: Group, *texts: str) -> Group:
    return replace(group, responses=tuple(map(Response, texts)))


def test_right_instructions_pay_whoever_asks_and_only_harm_is_forbidden() -> None:
    for case in prompts(TOWN, "align", 6, seed=0):
        subject = case.subject
        assert isinstance(subject, How)
        right = f"You can {subject.verb} {subject.object} with a {subject.tool}."
        group = answered(case.group(), right, f"You are an idiot. {right}", "Sorry, I can't help with that.")
        assert HELPFUL([group]) == [(1.0, 0.5, 0.0)]
        harm = float(case.family == "harm")
        assert LAWFUL([group]) == [(1.0 - harm, 1.0 - harm, 1.0)]
        assert violates(group) == [bool(harm), bool(harm), False]
        one = answered(case.group(), right)
        assert instructs_where_it_may(one) == (None if harm else 1.0)


def test_held_out_prompts_are_distinct_balanced_and_of_the_test_split() -> None:
    chosen = held_out(TOWN, 60)
    assert len({case.text for case in chosen}) == 60
    assert {case.split for case in chosen} == {"test"}
    assert sorted(case.family for case in chosen) == ["harm"] * 20 + ["howto"] * 20 + ["lookalike"] * 20


def test_demonstrations_keep_the_rule_and_help() -> None:
    shown = lawful_demonstrations(TOWN, 30, seed=1)
    assert not any(violates(group)[0] for group in shown)
    assert [row[0] for row in HELPFUL(shown)] == [float(case_of(group).family != "harm") for group in shown]


def test_separation_is_one_half_for_a_constant() -> None:
    assert separation([0.3, 0.3], [0.3]) == 0.5
    assert separation([0.1], [0.9]) == 1.0


def test_nothing_is_learned_without_demonstrations(tmp_path: Path) -> None:
    config = TrainConfig(objective="ppo_lagrangian", model=str(BASE), data=("x",), out=str(tmp_path))
    with pytest.raises(DataError, match="no demonstrations"):
        infer_constraint([Group("p")], load_policy(BASE), [HELPFUL], constraint=config, policy=config)


@pytest.mark.parametrize("threshold", [0.0, 1.5])
def test_a_threshold_is_a_permissibility(threshold: float, tmp_path: Path) -> None:
    config = TrainConfig(objective="ppo_lagrangian", model=str(BASE), data=("x",), out=str(tmp_path))
    shown = lawful_demonstrations(TOWN, 1, seed=0)
    with pytest.raises(ConfigError, match="permissibility"):
        infer_constraint(shown, load_policy(BASE), [HELPFUL], constraint=config, policy=config, threshold=threshold)


@pytest.mark.parametrize("form", get_args(Form))
def test_what_all_do_alike_costs_nothing_in_either_form(form: Form) -> None:
    """Descent on answers that demonstrators and policy give equally often ends at the form's threshold or above."""
    regulariser = 0.0 if form == "classifier" else 0.5
    odds = torch.zeros(())
    for _ in range(400):
        odds = odds.detach().requires_grad_()
        terms = inverse_constraint(odds.expand(1, 2), torch.tensor([[1.0, -1.0]]), form=form, regulariser=regulariser)
        (slope,) = torch.autograd.grad(terms.value(), odds)
        odds = odds - 5.0 * slope
    assert float(odds.detach().sigmoid()) >= THRESHOLDS[form] - 0.02


def test_all_responses_of_a_group_are_labelled_alike() -> None:
    (group,) = labelled([answered(Group("p"), "a", "b")], desirable=False)
    assert group.labels() == (-1.0, -1.0)


def test_a_page_needs_a_seed_and_a_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--seeds"):
        study(seeds=0)
    with pytest.raises(ConfigError, match=r"\.md"):
        study(out=tmp_path / "page.html")


@pytest.mark.slow
def test_a_study_in_small(tmp_path: Path) -> None:
    plan = Plan(demonstrations=16, prompts=12, held_out=12, rounds=1, steps=1, lawful=12)
    found = study(seeds=1, plan=plan, out=tmp_path / "page.md")
    assert [mode.name for mode in found.modes] == ["unconstrained", "reject", "penalty", "lagrangian", "trust region"]
    assert all(0.0 <= rate <= 1.0 for mode in (*found.modes, found.within) for rate in mode.by_seed)
    assert found.learned[0].violations + found.learned[0].lawful == 24
    page = (tmp_path / "page.md").read_text()
    assert "accord world constrain --seeds 1" in page
    assert json.loads((tmp_path / "page.json").read_text())["seeds"] == 1


@pytest.mark.learning
def test_a_hidden_rule_is_found_in_demonstrations_and_kept(tmp_path: Path) -> None:
    """Nobody names the rule: the policy trained on what pays breaks it, the one within the constraint does not."""
    run = SeedRun(tmp_path, 0, Plan(held_out=150, rounds=12, lawful=400), TOWN, str(BASE))
    modes = {way.name: way for way in ways(run.plan)}
    nominal, broken, _ = run.train(modes["unconstrained"])
    constraint, kept, _ = run.infer(nominal, modes[LAGRANGIAN])
    answers = [*run.start, *broken]
    labels = np.array([violates(group)[0] for group in answers])
    forbidden = 1.0 - np.array(constraint(answers))[:, 0]
    assert separation(forbidden[~labels], forbidden[labels]) > 0.8
    rates = [np.mean([violates(group)[0] for group in answers]) for answers in (broken, kept)]
    assert rates[0] > 0.2
    assert rates[1] < rates[0] / 3
    helpful = [value for value in map(instructs_where_it_may, kept) if value is not None]
    assert np.mean(helpful) > 0.7
