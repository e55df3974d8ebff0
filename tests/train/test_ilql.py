"""Training and resuming with heads of action values, and the states that follow."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from accord.data import read
from accord.errors import DataError
from accord.policy.action_values import FILE, decoding_by_worth
from accord.policy.load import load_policy
from accord.policy.sample import Sampling
from accord.record import Feedback, Group, Response, write_groups
from accord.record.transitions import next_state, with_next_state
from accord.rollout import rollout
from accord.testing import scored_groups
from accord.train.config import TrainConfig
from accord.train.next_states import next_values, with_next_states
from accord.train.run import run_training
from accord.train.step import run_step

MakeTask = Callable[..., Any]


def config(tiny: Path, data: Path, out: Path, **settings: Any) -> TrainConfig:
    given: dict[str, Any] = {"steps": 4, "batch_size": 4, "lr": 1e-3, "save_every": 2, "samples": 0, "holdout": 0.0}
    return TrainConfig(objective="ilql", model=str(tiny), data=(str(data),), out=str(out), **(given | settings))


def transition(state: str, action: str, reward: float, after: str | None) -> Group:
    response = Response(action) if after is None else with_next_state(Response(action), after)
    return Group(state, (response,), (Feedback("dataset", scores={"overall": (reward,)}),))


def test_a_resumed_run_is_the_uninterrupted_one(tiny: Path, tmp_path: Path) -> None:
    data = tmp_path / "scored.jsonl"
    write_groups(data, scored_groups(8, responses=2))
    whole = run_training(config(tiny, data, tmp_path / "whole"))
    cut = tmp_path / "cut"
    shutil.copytree(whole.path, cut)
    for gone in ("checkpoints/step-000004", "model"):
        shutil.rmtree(cut / gone)
    recorded = json.loads((cut / "environment.json").read_text()) | {"finished": None}
    (cut / "environment.json").write_text(json.dumps(recorded))
    run_training(config(tiny, data, cut))
    for file in ("model.safetensors", FILE):
        first, second = (load_file(path / "model" / file) for path in (whole.path, cut))
        assert all(torch.equal(first[name], second[name]) for name in first)
    line = json.loads((cut / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"loss/q", "loss/value", "loss/cql", "loss/cloning", "advantage"} <= set(line)


def test_the_state_that_follows_is_worth_what_its_value_says(make_task: MakeTask) -> None:
    groups = [transition("s", "a", 0.0, "the state after"), transition("s", "b", 1.0, None)]
    task, examples = make_task("ilql", groups)
    heads = task.policy.action_values
    with torch.no_grad():
        heads.value.out.weight.normal_()
    rows = task.policy.rows([example.encoded for example in examples])
    found = next_values(task.policy, examples, rows.valid)
    alone = task.policy.renderer.encode(Group("the state after", (Response("x"),)))
    expected = heads.values(task.policy.model, task.policy.rows([alone]))[0, 0, 0]
    torch.testing.assert_close(found, torch.stack([expected, torch.zeros(())])[:, None])


def test_micro_batches_do_not_matter(make_task: MakeTask) -> None:
    groups = [transition(f"s{i}", "a" * (i + 1), float(i), "next" if i % 2 else None) for i in range(4)]
    task, examples = make_task("ilql", groups)
    losses = [run_step(task, examples, micro_batch_tokens=tokens, backward=False).loss for tokens in (1, 10_000)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_state_that_is_too_long_is_named(make_task: MakeTask) -> None:
    task, examples = make_task("ilql", [transition("s", "a", 0.0, "long " * 20)])
    with pytest.raises(DataError, match="--max-length 50"):
        with_next_states(examples, task.policy, max_length=50)


def test_transitions_are_read(tmp_path: Path) -> None:
    file = tmp_path / "logs.jsonl"
    rows = [
        {"state": "at the gate", "action": "north", "reward": 0.5, "next_state": "in the yard", "done": False},
        {"state": "in the yard", "action": "wait", "reward": 1, "next_state": "in the yard", "done": True},
        {
            "state": [{"role": "user", "content": "Hello"}],
            "action": "Hi",
            "reward": None,
            "next_state": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}],
        },
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, last, chat = read([str(file)]).groups
    assert (first.prompt, first.responses[0].text, first.scores()) == ("at the gate", "north", (0.5,))
    assert next_state(first.responses[0]) == "in the yard"
    assert next_state(last.responses[0]) is None
    assert chat.scores() is None
    followed = next_state(chat.responses[0])
    assert isinstance(followed, tuple)
    assert [message.content for message in followed] == ["Hello", "Hi"]


def test_an_episode_that_goes_on_nowhere_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "logs.jsonl"
    file.write_text(json.dumps({"state": "s", "action": "a", "reward": 1, "done": False}) + "\n")
    with pytest.raises(DataError, match="`next_state` is missing"):
        read([str(file)])


def test_a_choice_is_improved_on_beyond_the_logs(tiny: Path, tmp_path: Path) -> None:
    """Three letters are logged alike, one of them pays: the clone says all three, decoding by worth says that one."""
    rewards = {"a": 0.0, "b": 1.0, "c": 0.0}
    groups = [
        Group("choose", (Response(letter),), (Feedback("dataset", scores={"overall": (reward,)}),))
        for letter, reward in rewards.items()
        for _ in range(4)
    ]
    data = tmp_path / "logs.jsonl"
    write_groups(data, groups)
    learning = {"schedule": "constant", "save_every": 0, "hyper": {"polyak": 0.1}}
    settings = config(tiny, data, tmp_path / "run", batch_size=12, steps=60, lr=5e-3, **learning)
    result = run_training(settings, fresh=True)
    policy = load_policy(result.path / "model")
    sampling = Sampling(temperature=1.0, max_tokens=4, seed=0)
    (cloned,) = rollout(policy, [Group("choose")], n=30, sampling=sampling)
    with decoding_by_worth(policy, beta=16.0):
        (improved,) = rollout(policy, [Group("choose")], n=30, sampling=sampling)
    shares = [sum(one.text == "b" for one in group.responses) / 30 for group in (cloned, improved)]
    assert 0.1 < shares[0] < 0.6
    assert shares[1] > 0.8
