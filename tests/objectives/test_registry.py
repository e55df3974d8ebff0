"""Names, signatures, ranges and docstrings of the objectives."""

import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import accord.objectives
from accord.errors import ConfigError
from accord.objectives import OBJECTIVES, Range, resolve, signature_of, validate

MODULES = [module.name for module in pkgutil.iter_modules(accord.objectives.__path__)]


WITH_REFERENCE = [
    "dpo",
    "robust_dpo",
    "ipo",
    "gpo",
    "f_dpo",
    "exo",
    "nca",
    "apo",
    "sppo",
    "discopop",
    "r_dpo",
    "ld_dpo",
    "odpo",
    "shaped_dpo",
    "modpo",
    "constrained_dpo",
    "beta_dpo",
    "adaptive_dpo",
    "group_dpo",
    "wpo",
    "cost_dpo",
    "xpo",
    "nash_md",
    "aot",
    "aot_unpaired",
    "bco",
    "kto",
    "apo_unpaired",
    "plackett_luce",
    "soft_listwise",
    "lipo",
]
WITHOUT_REFERENCE = ["sft", "rwr", "awr", "distill", "simpo", "orpo", "cpo", "slic", "bradley_terry", "cost_model"]
WITHOUT_REFERENCE += ["ilql"]
REWARD_MODELS = ["multi_bradley_terry", "reward_regression", "process_reward", "inverse_constraint"]


def source_of(name: str) -> Path:
    return Path(inspect.getsourcefile(OBJECTIVES[name]) or "")


def test_the_names_users_type() -> None:
    assert set(OBJECTIVES) == {*WITH_REFERENCE, *WITHOUT_REFERENCE, *REWARD_MODELS}
    assert all(resolve(name) is function for name, function in OBJECTIVES.items())


def test_only_methods_with_a_reference_load_one() -> None:
    with_reference = {name for name in OBJECTIVES if "reference" in signature_of(OBJECTIVES[name]).needs}
    assert with_reference == set(WITH_REFERENCE)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_docstring_teaches(name: str) -> None:
    objective = OBJECTIVES[name]
    text = inspect.getdoc(objective) or ""
    signature = signature_of(objective)
    assert ".. math::" in text
    assert re.search(r"Source: .*\d{4}", text)
    assert "arXiv:" in text
    assert ">>> " in text
    assert "Returns:" in text
    for tensor in signature.needs:
        assert re.search(rf"^    {tensor}: `\[.*\]` ", text, re.MULTILINE), tensor
    for hyperparameter in signature.hyperparameters:
        assert len(hyperparameter.help) > 20, hyperparameter.name


@pytest.mark.parametrize("module", MODULES)
def test_doctests(module: str) -> None:
    results = doctest.testmod(importlib.import_module(f"accord.objectives.{module}"))
    assert results.failed == 0
    assert results.attempted > 0 or module not in {source_of(name).stem for name in OBJECTIVES}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_defaults_are_allowed_and_complete(name: str) -> None:
    defaults = validate(name, {})
    assert list(defaults) == [parameter.name for parameter in signature_of(OBJECTIVES[name]).hyperparameters]
    assert validate(name, defaults) == defaults


@pytest.mark.parametrize(
    ("name", "hyper", "message"),
    [
        ("dpo", {"beta": 0.0}, "--beta: 0.0 is out of range. Give a number above 0; the default is 0.1."),
        ("dpo", {"beta": float("nan")}, "--beta: nan is out of range. Give a number above 0; the default is 0.1."),
        ("dpo", {"beta": "inf"}, "--beta: inf is out of range. Give a number above 0; the default is 0.1."),
        (
            "dpo",
            {"label_smoothing": 0.5},
            "--label-smoothing: 0.5 is out of range. Give a number at least 0 and below 0.5; the default is 0.0.",
        ),
        ("kto", {"beta": "high"}, "--beta: 'high' cannot be used. Give a number above 0; the default is 0.1."),
        ("kto", {"beta": True}, "--beta: True cannot be used. Give a number above 0; the default is 0.1."),
        (
            "ipo",
            {"length": "mean"},
            "--length: 'mean' cannot be used. Give one of token_mean, sum; the default is token_mean.",
        ),
        (
            "kto",
            {"desirable_wieght": 1},
            "--desirable-wieght: kto has no such hyperparameter. Did you mean '--desirable-weight'? "
            "It takes --beta, --desirable-weight, --undesirable-weight.",
        ),
        ("sft", {"beta": 0.1}, "--beta: sft has no such hyperparameter. It takes none."),
    ],
)
def test_a_bad_value_is_one_sentence_with_the_range(name: str, hyper: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(name, hyper)
    assert str(caught.value) == message


def test_values_from_a_command_line_are_converted() -> None:
    assert validate("ipo", {"tau": "0.5", "length": "sum"}) == {"tau": 0.5, "length": "sum"}
    assert isinstance(validate("dpo", {"beta": 1})["beta"], float)


@pytest.mark.parametrize(
    ("interval", "inside", "outside", "words"),
    [
        (Range(), (0.0, -1e300), (float("inf"), float("nan")), "finite"),
        (Range(above=0.0), (1e-9,), (0.0, -1.0), "above 0"),
        (Range(least=0.0, most=1.0), (0.0, 1.0), (-0.1, 1.1), "at least 0 and at most 1"),
    ],
)
def test_range(interval: Range, inside: tuple[float, ...], outside: tuple[float, ...], words: str) -> None:
    assert all(value in interval for value in inside)
    assert not any(value in interval for value in outside)
    assert str(interval) == words


USERS_MODULE = """
from typing import Annotated
from accord.objectives import Range, Terms

def mine(policy, mask, *, sharpness: Annotated[float, Range(above=1.0)] = 2.0, rounds: int = 3,
         loud: bool = False, note: list[str] = []) -> Terms:
    return Terms(loss=-sharpness * policy, weight=mask)

def unknown_tensor(logits) -> Terms: ...
def no_default(policy, *, beta: float) -> Terms: ...
def takes_anything(policy, **rest) -> Terms: ...
not_a_function = 3
"""


@pytest.fixture
def users_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"losses_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(USERS_MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    return name


def test_a_users_own_objective(users_module: str) -> None:
    name = f"{users_module}:mine"
    assert signature_of(resolve(name)).needs == ("policy", "mask")
    assert validate(name, {"sharpness": 3, "rounds": "5"})["rounds"] == 5
    with pytest.raises(ConfigError, match="above 1"):
        validate(name, {"sharpness": 1.0})
    with pytest.raises(ConfigError, match="a whole number"):
        validate(name, {"rounds": 1.5})
    with pytest.raises(ConfigError, match="true or false"):
        validate(name, {"loud": "perhaps"})
    with pytest.raises(ConfigError, match="a value of type list"):
        validate(name, {"note": 3})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dop", "Did you mean 'dpo'"),
        ("rlhf", "Known: sft, rwr, awr, distill, dpo, .*, cost_model, .*, grpo.*; or your own as module:function"),
        ("no_such_module:mine", "cannot import 'no_such_module'"),
        (":mine", "cannot import ''"),
        ("{module}:mien", "Did you mean 'mine'"),
        ("{module}:not_a_function", "has no function"),
        ("{module}:unknown_tensor", "'logits' is not a tensor of the vocabulary"),
        ("{module}:no_default", "needs a default"),
        ("{module}:takes_anything", r"no \*args or \*\*kwargs"),
    ],
)
def test_a_name_that_is_no_objective(users_module: str, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(name.format(module=users_module))


def test_objectives_import_neither_each_other_nor_the_layers_above() -> None:
    for name in OBJECTIVES:
        imported = set(re.findall(r"^from accord\.([\w.]+) import", source_of(name).read_text(), re.MULTILINE))
        shared = {"terms", "primitives", "hyperparameters", "links", "policy_gradient.credit"}
        assert imported <= {f"objectives.{module}" for module in shared}


def test_objectives_need_torch_alone() -> None:
    code = "import sys, accord.objectives; print([m for m in ('transformers', 'peft', 'datasets') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
