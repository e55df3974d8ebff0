"""A whole run on every architecture and objective: train, measure, export; plain transformers loads the result."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from accord.errors import AccordError, ConfigError, DataError, ModelError
from accord.record import Group, Response
from accord.testing import ARCHITECTURES, demonstrations, labelled_groups, preference_groups, tiny_model
from accord.train.config import TrainConfig
from accord.train.directory import read_config
from accord.train.run import RunResult, run_training

DATA = {
    "sft": demonstrations(16),
    "kto": labelled_groups(16),
    **{name: preference_groups(16) for name in ("dpo", "ipo", "simpo", "orpo", "bradley_terry")},
}


def train(
    model: Path, out: Path, objective: str = "dpo", groups: Sequence[Group] | None = None, **more: Any
) -> RunResult:
    settings = {"lr": 1e-3, "tokens_per_step": 400, "holdout": 0.2, "samples": 2, "sample_tokens": 8} | more
    config = TrainConfig(objective=objective, model=str(model), data=("in memory",), out=str(out), **settings)
    return run_training(config, groups=DATA[objective] if groups is None else groups)


def metrics(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("settings", [{}, {"lora_r": 4, "dtype": "bf16"}], ids=["full-fp32", "lora-bf16"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_trains_and_exports(architecture: str, settings: dict[str, Any], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = tiny_model(tmp_path / "start", architecture)  # type: ignore[arg-type]
    result = train(model, tmp_path / "run", **settings)
    assert result.policy is not None
    exported: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model", dtype=torch.float32)
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    assert exported.generate(**prompt, max_new_tokens=4, do_sample=False).shape[1] > prompt["input_ids"].shape[1]
    trained, loaded = result.policy.model.eval(), exported.eval()
    with torch.no_grad():
        ids = torch.tensor([[5, 9, 17, 33]])
        tolerance = 2e-5 if not settings else 0.3
        torch.testing.assert_close(
            trained(input_ids=ids).logits.float(), loaded(input_ids=ids).logits, atol=tolerance, rtol=0
        )


@pytest.mark.parametrize("settings", [{"dtype": "bf16"}, {"lora_r": 4}], ids=["full-bf16", "lora-fp32"])
def test_the_other_precisions(settings: dict[str, Any], tiny: Path, tmp_path: Path) -> None:
    train(tiny, tmp_path / "run", **settings)
    losses = [line["loss"] for line in metrics(tmp_path / "run") if "loss" in line]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("objective", DATA)
def test_every_objective_writes_a_whole_run_directory(objective: str, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(tiny, out, objective, epochs=2.0)
    present = {path.name for path in out.iterdir()}
    assert present >= {
        "config.toml",
        "environment.json",
        "data.json",
        "metrics.jsonl",
        "heldout.jsonl",
        "model",
        "checkpoints",
    }
    lines = metrics(out)
    assert lines[0]["step"] == 0
    assert "eval/loss" in lines[0]
    steps = [line["step"] for line in lines if "loss" in line]
    assert steps == list(range(1, len(steps) + 1))
    assert lines[-1]["step"] == steps[-1]
    assert "eval/loss" in lines[-1]
    assert lines[-1]["eval/loss"] < lines[0]["eval/loss"]
    environment = json.loads((out / "environment.json").read_text())
    assert environment["finished"]
    assert environment["trainable_parameters"] == environment["parameters"]
    if objective != "bradley_terry":
        samples = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
        assert {line["step"] for line in samples} == {0, steps[-1]}


def test_the_reward_model_is_a_plain_sequence_classifier(tiny: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    result = train(tiny, tmp_path / "run", "bradley_terry", epochs=3.0)
    assert result.policy is not None
    classifier: Any = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run" / "model")
    encoded = result.policy.renderer.encode(DATA["bradley_terry"][0])
    with torch.no_grad():
        ours = result.policy.rewards([encoded])[0]
        for response, reward in zip(encoded.responses, ours, strict=True):
            ids = torch.tensor([encoded.prompt + response.tokens])
            assert float(classifier(input_ids=ids).logits) == pytest.approx(float(reward), abs=1e-5)
        pad = result.policy.renderer.pad_id
        padded = torch.tensor([encoded.prompt + encoded.responses[0].tokens + (pad, pad)])
        mask = (torch.arange(padded.shape[1])[None] < padded.shape[1] - 2).long()
        assert float(classifier(input_ids=padded, attention_mask=mask).logits) == pytest.approx(
            float(ours[0]), abs=1e-4
        )


def test_training_goes_on_from_a_saved_reward_model(tiny: Path, tmp_path: Path) -> None:
    first = train(tiny, tmp_path / "first", "bradley_terry")
    assert first.policy is not None
    assert first.policy.reward_head is not None
    second = train(tmp_path / "first" / "model", tmp_path / "second", "bradley_terry", lr=0.0)
    assert second.policy is not None
    assert second.policy.reward_head is not None
    assert torch.equal(first.policy.reward_head.score.weight, second.policy.reward_head.score.weight)


def test_the_written_configuration_repeats_the_run(tiny: Path, tmp_path: Path) -> None:
    train(tiny, tmp_path / "one")
    repeated = read_config(tmp_path / "one" / "config.toml")
    assert repeated.lr == 1e-3
    assert repeated.hyper["beta"] == 0.1
    run_training(_elsewhere(repeated, tmp_path / "two"), groups=DATA["dpo"])
    assert _weights(tmp_path / "one") == _weights(tmp_path / "two")


def test_gradient_checkpointing_changes_nothing(tiny: Path, tmp_path: Path) -> None:
    from transformers.modeling_layers import GradientCheckpointingLayer

    train(tiny, tmp_path / "plain")
    result = train(tiny, tmp_path / "checkpointed", gradient_checkpointing=True)
    assert result.policy is not None
    recomputed = [m for m in result.policy.model.modules() if isinstance(m, GradientCheckpointingLayer)]
    assert recomputed
    assert all(layer.gradient_checkpointing and layer.training for layer in recomputed)
    plain = [line["loss"] for line in metrics(tmp_path / "plain") if "loss" in line]
    again = [line["loss"] for line in metrics(tmp_path / "checkpointed") if "loss" in line]
    assert again == pytest.approx(plain, rel=1e-5)


def test_a_finished_run_says_so_and_fresh_starts_again(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(tiny, out)
    (out / "notes.txt").write_text("mine")
    (out / "model" / "notes.txt").write_text("mine")
    before = (out / "metrics.jsonl").read_bytes()
    assert train(tiny, out).policy is None
    assert train(tiny, out, micro_batch_tokens=300).policy is None  # changes memory, not what was learned
    assert (out / "metrics.jsonl").read_bytes() == before
    with pytest.raises(ConfigError, match=r"lr was 0.001 and is now 0.002.*--fresh"):
        train(tiny, out, lr=2e-3)
    config = TrainConfig(
        objective="dpo", model=str(tiny), data=("in memory",), out=str(out), lr=2e-3, tokens_per_step=400, samples=0
    )
    run_training(config, groups=DATA["dpo"], fresh=True)
    assert read_config(out / "config.toml").lr == 2e-3
    assert (out / "notes.txt").read_text() == (out / "model" / "notes.txt").read_text() == "mine"


def test_a_directory_of_someone_else_is_left_alone(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ConfigError, match="not empty and not a run directory"):
        train(tiny, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hyper": {"beta": -1.0}}, "--beta"),
        ({"hyper": {"betta": 0.1}}, "--beta"),
        ({"track": ("excel",)}, "unknown tracker"),
        ({"max_length": 100_000}, "positions the model has"),
        ({"device": "tpu9"}, "--device"),
        ({"seed": -1}, "--seed"),
        ({"warmup": float("inf")}, "--warmup"),
        ({"epochs": float("nan")}, "--epochs"),
        ({"schedule": "foo"}, "schedule"),
        ({"dtype": "fp8"}, "dtype"),
        ({"eval_data": "held-out.jsonl"}, "--eval-data: is one string"),
        ({"axis": "safety"}, "--axis: no feedback is about 'safety'. The data names no axes"),
    ],
)
def test_wrong_settings_leave_nothing_behind(
    settings: dict[str, Any], message: str, tiny: Path, tmp_path: Path
) -> None:
    with pytest.raises(AccordError, match=re.escape(message)):
        train(tiny, tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such directory"):
        train(tmp_path / "absent", tmp_path / "run")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"config\.json"):
        train(tmp_path / "empty", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_tokenizer_that_reads_nothing_is_refused(tiny: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    shutil.copytree(tiny, tmp_path / "model")
    nothing = Tokenizer(models.BPE({"<eos>": 0}, []))
    tokenizer: Any = PreTrainedTokenizerFast
    tokenizer(tokenizer_object=nothing, eos_token="<eos>").save_pretrained(tmp_path / "model")
    with pytest.raises(ModelError, match="gives no tokens for text"):
        train(tmp_path / "model", tmp_path / "run")


def test_data_without_anything_to_train_on_is_refused(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        train(tiny, tmp_path / "run", groups=[Group("a", (Response(""),)), Group("b", (Response(""),))])
    assert not (tmp_path / "run").exists()


def test_too_little_memory_is_said_before_the_first_step(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Little:
        available = 1000
        total = 1000

    monkeypatch.setattr("accord.train.memory.psutil.virtual_memory", Little)
    with pytest.raises(ConfigError, match=r"does not fit into memory.*--lora-r 16"):
        train(tiny, tmp_path / "run")


def test_the_memory_estimate_knows_how_much_data_there_is(tiny: Path, tmp_path: Path) -> None:
    train(tiny, tmp_path / "run", micro_batch_tokens=900_000_000)
    assert (tmp_path / "run" / "model").is_dir()


def test_kto_needs_no_second_prompt_among_the_held_out(tiny: Path, tmp_path: Path) -> None:
    train(tiny, tmp_path / "run", "kto", holdout=0.06)
    assert len(json.loads((tmp_path / "run" / "heldout.jsonl").read_text().splitlines()[0])["values"]) == 1


def test_a_run_checkpoints_itself_ten_times(tiny: Path, tmp_path: Path) -> None:
    train(tiny, tmp_path / "run", steps=20, keep_checkpoints=100)
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept == [f"step-{step:06d}" for step in range(2, 21, 2)]


def test_a_damaged_environment_is_named(tiny: Path, tmp_path: Path) -> None:
    train(tiny, tmp_path / "run")
    (tmp_path / "run" / "environment.json").write_text("")
    with pytest.raises(DataError, match=r"environment\.json: is damaged.*--fresh"):
        train(tiny, tmp_path / "run")


def test_a_probe_is_logged_and_the_held_out_prompts_are_not_trained_on(tiny: Path, tmp_path: Path) -> None:
    config = TrainConfig(
        objective="dpo",
        model=str(tiny),
        data=("in memory",),
        out=str(tmp_path / "run"),
        eval_every=1,
        steps=2,
        samples=0,
    )
    run_training(config, groups=DATA["dpo"], probe=lambda policy, step: {"answer": 42.0 + step})
    assert [line["probe/answer"] for line in metrics(tmp_path / "run") if "probe/answer" in line] == [42.0, 43.0, 44.0]


def _elsewhere(config: TrainConfig, out: Path) -> TrainConfig:
    import msgspec

    return msgspec.structs.replace(config, out=str(out))


def _weights(out: Path) -> bytes:
    return (out / "model" / "model.safetensors").read_bytes()
