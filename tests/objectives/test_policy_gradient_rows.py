"""The rows themselves: names, texts, settings, and what each needs at which settings."""

import dataclasses
import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import accord.objectives.policy_gradient as family
from accord.errors import ConfigError
from accord.objectives import OBJECTIVES, VOCABULARY, resolve, signature_of, validate
from accord.objectives.policy_gradient import METHODS
from accord.objectives.policy_gradient.denominators import token_mean
from accord.objectives.policy_gradient.surrogates import ppo_clip

MODULES = [module.name for module in pkgutil.iter_modules(family.__path__)]
CRITICS = {"a2c", "ppo", "trpo", "ppo_lagrangian", "constrained_trpo"}

every_method = pytest.mark.parametrize("name", METHODS)


def needs(name: str, **hyper: Any) -> set[str]:
    """Of credit and loss together."""
    method = METHODS[name]
    return {*method.credit(hyper).needs, *method.objective(hyper).signature.needs}


def test_the_names_users_type() -> None:
    published = "reinforce reinforce_pp a2c ppo trpo rloo remax grpo dr_grpo dapo gspo gspo_token cispo ppo_lagrangian"
    assert {*published.split(), "grpo_process", "gdpo", "constrained_trpo"} == set(METHODS)
    assert not set(METHODS) & set(OBJECTIVES)
    assert all(resolve(name) is method for name, method in METHODS.items())


@every_method
def test_a_text_teaches(name: str) -> None:
    text = inspect.getdoc(METHODS[name]) or ""
    assert ".. math::" in text
    assert re.search(r"Source: .*\d{4}", text)
    first = text.splitlines()[0]
    assert first.endswith(".")
    assert len(first) < 120


@every_method
def test_every_setting_is_explained_and_its_default_allowed(name: str) -> None:
    hyperparameters = signature_of(METHODS[name]).hyperparameters
    defaults = validate(name, {})
    assert list(defaults) == [parameter.name for parameter in hyperparameters]
    assert validate(name, defaults) == defaults
    assert METHODS[name].settings({}) == defaults
    for parameter in hyperparameters:
        assert len(parameter.help) > 20, parameter.name


@every_method
def test_one_setting_means_one_thing(name: str) -> None:
    """Functions of a row that share a name for a setting share its kind and range."""
    kinds: dict[str, set[str]] = {}
    for function in METHODS[name]._functions():
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                kinds.setdefault(parameter.name, set()).add(str(parameter.annotation))
    assert {setting: found for setting, found in kinds.items() if len(found) > 1} == {}


@every_method
def test_what_a_row_needs_is_in_the_vocabulary(name: str) -> None:
    assert needs(name) <= set(VOCABULARY)
    assert {"score", "scored", "valid", "mask"} <= set(METHODS[name].credit({}).needs)
    assert {"policy", "mask", "advantage"} <= set(METHODS[name].objective({}).signature.needs)
    assert ("value" in needs(name)) == (name in CRITICS)


def test_a_coefficient_of_zero_needs_nothing() -> None:
    assert "reference" in needs("grpo")
    assert "reference" not in needs("grpo", kl_loss=0.0)
    assert "reference" in needs("rloo")
    assert "reference" not in needs("rloo", kl_reward=0.0)
    assert "entropy" in needs("a2c")
    assert "entropy" not in needs("a2c", entropy_coefficient=0.0)
    assert "value" not in needs("ppo", value_coefficient=0.0)
    assert needs("rloo", kl_reward_estimator="full") - needs("rloo") == {"divergence"}
    assert needs("grpo", ptx_coefficient=1.0) - needs("grpo") == {"pretrain", "pretrain_mask"}
    assert needs("grpo", missing_eos=1.0) - needs("grpo") == {"finished"}
    assert needs("grpo", truncated="skip") - needs("grpo") == {"finished"}
    assert needs("ppo", step_weight=1.0) - needs("ppo") == {"step_score", "step_end"}
    assert "behaviour" not in needs("reinforce")
    assert needs("reinforce", kl_loss=1.0, kl_estimator="k3_ratio") - needs("reinforce") == {"behaviour", "reference"}


def test_an_objective_at_settings_has_nothing_left_to_set() -> None:
    objective = METHODS["ppo"].objective({"kl_reward": 0.0})
    assert signature_of(objective) is objective.signature
    assert objective.signature.hyperparameters == ()


def test_a_method_is_an_objective() -> None:
    values = torch.zeros(1, 2, 1)
    terms = METHODS["dr_grpo"](values, torch.ones(1, 2, 1), values, values, clip_low=0.1)
    assert float(terms.value()) == 0.0


def test_bad_settings_are_refused_with_the_range() -> None:
    with pytest.raises(ConfigError, match=r"--gamma: 1.5 is out of range. Give a number at least 0 and at most 1"):
        validate("ppo", {"gamma": 1.5})
    with pytest.raises(ConfigError, match="Give one of k1, abs, k2, full; the default is k1"):
        validate("rloo", {"kl_reward_estimator": "k9"})
    with pytest.raises(ConfigError, match="Did you mean '--clip-high'"):
        validate("dapo", {"clip_hihg": 0.3})
    with pytest.raises(ValueError, match="grpo has no hyperparameter beta"):
        METHODS["grpo"].objective({"beta": 0.1})
    assert validate("trpo", {"iterations": "15"})["iterations"] == 15


def test_a_row_of_ones_own() -> None:
    own = dataclasses.replace(METHODS["grpo"], name="mine", text="Mine.", denominator=token_mean, surrogate=ppo_clip)
    assert own.settings({}) == METHODS["grpo"].settings({})
    assert inspect.getdoc(own) == "Mine."
    with pytest.raises(TypeError, match="mine: no function of the row has the hyperparameter lambda"):
        dataclasses.replace(own, defaults={"lambda": 1.0})


def test_trust_region_settings() -> None:
    settings = METHODS["trpo"].step_settings({"kl_limit": 0.02})
    assert (settings.kl_limit, settings.damping, settings.backtrack) == (0.02, 0.1, 0.8)
    assert METHODS["ppo"].step_settings({}) is None


@pytest.mark.parametrize("module", MODULES)
def test_doctests(module: str) -> None:
    assert doctest.testmod(importlib.import_module(f"{family.__name__}.{module}")).failed == 0


@pytest.mark.parametrize("module", MODULES)
def test_the_family_stands_on_what_objectives_share(module: str) -> None:
    path = Path(inspect.getsourcefile(importlib.import_module(f"{family.__name__}.{module}")) or "")
    imported = set(re.findall(r"^from accord\.([\w.]+) import", path.read_text(), re.MULTILINE))
    shared = {f"objectives.{name}" for name in ("terms", "primitives", "hyperparameters", "vocabulary", "monitors")}
    assert {name for name in imported if not name.startswith("objectives.policy_gradient")} <= shared
