"""The base model is a function of its seed, and the one that ships is what its card says."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from accord.errors import ConfigError
from accord.policy.load import load_policy
from accord.recipes.world_build import build_world, figures
from accord.world.base import BASE
from accord.world.tokenizer import build_tokenizer


def test_the_same_seed_builds_the_same_bits(tmp_path: Path) -> None:
    one, again, other = (
        (build_world(tmp_path / name, seed=seed, steps=3, held_out=8) / "model.safetensors").read_bytes()
        for name, seed in (("one", 0), ("again", 0), ("other", 1))
    )
    assert one == again
    assert one != other


def test_a_built_base_loads_in_plain_transformers_and_has_a_card(tmp_path: Path) -> None:
    built = build_world(tmp_path / "base", steps=2, held_out=8)
    model: Any = AutoModelForCausalLM.from_pretrained(built)
    tokenizer: Any = AutoTokenizer.from_pretrained(built)
    question = [{"role": "user", "content": "Hi there."}]
    ids = tokenizer(tokenizer.apply_chat_template(question, tokenize=False), return_tensors="pt").input_ids
    assert model.generate(ids, max_new_tokens=2, do_sample=False).shape[1] > ids.shape[1]
    card = (built / "README.md").read_text()
    assert "| seed | 0 |" in card
    assert "| nobody |" in card


def test_a_directory_that_holds_something_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        build_world(tmp_path, steps=1)


def test_the_shipped_base_belongs_to_this_code() -> None:
    shipped = json.loads((BASE / "tokenizer.json").read_text())
    assert shipped == json.loads(build_tokenizer().backend_tokenizer.to_str())
    assert sum(path.stat().st_size for path in BASE.iterdir()) < 5_000_000
    assert all(tensor.dtype.itemsize == 2 for tensor in load_file(BASE / "model.safetensors").values())


@pytest.mark.learning
def test_the_shipped_base_is_flawed_and_able() -> None:
    """Left to itself it imitates everyone; announced as an honest expert it knows nearly everything."""
    measured = figures(load_policy(BASE), town_seed=0, prompts=200)
    assert 0.3 < measured["nobody"]["gold"] < 0.55
    assert measured["sage"]["gold"] > 0.85
    assert measured["troll"]["rude"] > 0.5
    assert measured["rambler"]["filler"] > 1.0
