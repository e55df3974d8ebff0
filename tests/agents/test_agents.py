"""Agents over plain tensors: the losses of training, learning in a few steps, and what is said of wrong batches."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from accord.agents import (
    Agent,
    DPOAgent,
    GRPOAgent,
    IPOAgent,
    KTOAgent,
    ORPOAgent,
    PPOAgent,
    ReMaxAgent,
    RLOOAgent,
    RLVRAgent,
    SimPOAgent,
    SPINAgent,
)
from accord.errors import AccordError, ConfigError, DataError
from accord.objectives import resolve, signature_of, validate
from accord.policy.load import load_policy
from accord.policy.policy import Policy
from accord.policy.reference import LogprobCache, Reference
from accord.policy.sample import Sampling
from accord.record import Feedback, Group
from accord.rollout import rollout
from accord.testing import labelled_groups, preference_groups, tiny_model
from accord.train.actor import PromptOrder, Round
from accord.train.collate import make_examples
from accord.train.config import TrainConfig
from accord.train.run import run_training
from accord.train.step import Task, run_step

Batch = dict[str, Any]
WANTED, END = 5, 1
PAIRED = [DPOAgent, IPOAgent, SimPOAgent, ORPOAgent, SPINAgent]
SAMPLING = [GRPOAgent, RLOOAgent, ReMaxAgent, PPOAgent]


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCORD_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def model() -> Any:
    """A new model of twelve tokens."""
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=12, max_position_embeddings=32, eos_token_id=END, pad_token_id=0, bos_token_id=None, **sizes
    )
    return LlamaForCausalLM(config)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny"), "llama")


def padded(rows: Sequence[Sequence[int]], starts: Sequence[int], prefix: str = "") -> Batch:
    """Rows as tensors, padded on the left, with what is response from each start on."""
    ids, attended, trained = (torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long) for _ in range(3))
    for row, (tokens, start) in enumerate(zip(rows, starts, strict=True)):
        ids[row, -len(tokens) :] = torch.tensor(tokens)
        attended[row, -len(tokens) :] = 1
        trained[row, start - len(tokens) :] = 1
    parts = {"input_ids": ids, "attention_mask": attended, "response_mask": trained}
    return {f"{prefix}{name}": tensor for name, tensor in parts.items()}


def batch_of(policy: Policy, groups: Sequence[Group]) -> Batch:
    """The same rows as training reads, as tensors."""
    encoded = [policy.renderer.encode(group) for group in groups]
    sides = ("chosen_", "rejected_") if len(groups[0].responses) == 2 else ("",)
    batch: Batch = {}
    for j, prefix in enumerate(sides):
        rows = [(*one.prompt, *one.responses[j].tokens) for one in encoded]
        batch |= padded(rows, [len(one.prompt) for one in encoded], prefix)
    if len(sides) == 1:
        batch["is_desirable"] = torch.tensor([group.labels()[0] > 0 for group in groups])
    return batch


def toy_pairs() -> Batch:
    return padded([(3, 4, WANTED, END)] * 2, [2, 2], "chosen_") | padded([(3, 4, 7, 8, END)] * 2, [2, 2], "rejected_")


def share_of_wanted(samples: Tensor, agent: Agent) -> Tensor:
    assert agent.generated is not None
    mask = agent.generated.response_mask
    return ((samples == WANTED) * mask).sum(1) / mask.sum(1)


def moved(path: Path) -> Any:
    """A model that is no longer its reference, so that losses are not those of a start."""
    changed = load_policy(path).model
    with torch.no_grad():
        for parameter in changed.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return changed


@pytest.mark.parametrize("kind", [*PAIRED, KTOAgent])
def test_the_loss_is_that_of_training(kind: type[Agent], tiny: Path, tmp_path: Path) -> None:
    start, policy = load_policy(tiny), load_policy(tiny)
    groups = labelled_groups(4) if kind is KTOAgent else preference_groups(4)
    encoded = [policy.renderer.encode(group) for group in groups]
    objective = resolve(kind.row.method)
    examples = make_examples(groups, encoded, mismatch="mismatched_kl" in signature_of(objective).needs)
    reference = Reference(start.fingerprint(), LogprobCache(tmp_path / "cache.sqlite"))
    reference.compute(start, [*encoded, *(e.mismatched for e in examples if e.mismatched)], micro_batch_tokens=4096)
    policy.model = moved(tiny)
    task = Task(objective, validate(kind.row.method, {}), policy, reference)
    expected = run_step(task, examples, micro_batch_tokens=4096, backward=False)
    needs_reference = {"reference_policy": start.model} if "reference" in task.needs else {}
    found = kind({"policy": policy.model, **needs_reference}).update(batch_of(policy, groups))
    assert found["loss"] == pytest.approx(expected.loss, abs=1e-6)
    assert found["grad_norm"] > 0


class Fixed:
    """An actor that has sampled already."""

    def __init__(self, groups: list[Group]) -> None:
        self.groups = groups

    def collect(self, policy: Policy, prompts: PromptOrder, number: int) -> Round:
        return Round(self.groups, {})

    def examine(self, policy: Policy, held_out: Sequence[Group]) -> list[Group]:
        return []


@pytest.mark.parametrize(("kind", "hyper"), [(GRPOAgent, {"kl_loss": 0.0}), (RLOOAgent, {}), (PPOAgent, {})])
def test_the_first_step_on_samples_is_that_of_training(
    kind: type[Agent], hyper: dict[str, float], tiny: Path, tmp_path: Path
) -> None:
    policy = load_policy(tiny)
    prompts = [Group("one"), Group("another")]
    answered = rollout(policy, prompts, n=3, sampling=Sampling(max_tokens=5))
    rewards = [float(len(response.text)) for group in answered for response in group.responses]
    scored = [
        Group(
            group.prompt,
            group.responses,
            (Feedback("verifier", scores={"overall": tuple(rewards[3 * i : 3 * i + 3])}),),
        )
        for i, group in enumerate(answered)
    ]
    config = TrainConfig(
        objective=kind.row.method, model=str(tiny), data=("x",), out=str(tmp_path / "run"), steps=1, n=3, prompts=2,
        samples=0, holdout=0.0, hyper=hyper, reward=("given",),
    )  # fmt: skip
    run_training(config, groups=prompts, actor=Fixed(scored))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    expected = next(line for line in lines if line["step"] == 1 and "loss" in line)
    encoded = [policy.renderer.encode(group) for group in scored]
    rows = [(*one.prompt, *response.tokens) for one in encoded for response in one.responses]
    batch = padded(rows, [len(one.prompt) for one in encoded for _ in one.responses])
    behaviour = torch.zeros(batch["input_ids"].shape)
    for row, response in enumerate(response for group in scored for response in group.responses):
        assert response.logprobs is not None
        behaviour[row, behaviour.shape[1] - len(response.logprobs) :] = torch.tensor(response.logprobs)
    agent = kind({"policy": policy.model, "group_size": 3, "stop_ids": policy.renderer.stop_ids, **hyper})
    found = agent.update(batch | {"rewards": torch.tensor(rewards), "old_log_probs": behaviour})
    assert found["loss"] == pytest.approx(expected["loss"], abs=1e-6)
    assert found["score"] == pytest.approx(sum(rewards) / 6)


@pytest.mark.parametrize("kind", PAIRED)
def test_pairs_are_learned(kind: type[Agent], model: Any) -> None:
    agent = kind({"policy": model, "learning_rate": 3e-3})
    first = agent.update(toy_pairs())
    for _ in range(14):
        last = agent.update(toy_pairs())
    assert last["loss"] < first["loss"]
    assert last["accuracy"] == 1.0
    assert last["margin"] > first["margin"] + 0.5


def test_labels_are_learned(model: Any) -> None:
    batch = padded([(3, 4, WANTED, END), (3, 6, 7, 8, END)], [2, 2]) | {"is_desirable": torch.tensor([1, 0])}
    agent = KTOAgent({"policy": model, "learning_rate": 3e-3, "lambda_good": 1.2})
    for _ in range(15):
        metrics = agent.update(batch)
    assert metrics["chosen_reward"] > metrics["rejected_reward"] + 0.5


@pytest.mark.parametrize("kind", SAMPLING)
def test_rewards_are_learned(kind: type[Agent], model: Any) -> None:
    agent = kind({"policy": model, "learning_rate": 1e-2, "num_samples": 8, "max_new_tokens": 4})
    prompts = torch.tensor([[0, 3, 4], [2, 6, 4]])
    attended = torch.tensor([[0, 1, 1], [1, 1, 1]])
    means = []
    for _ in range(15):
        samples, log_probs = agent.generate_samples(prompts, attended)
        assert samples.shape == log_probs.shape
        rewards = share_of_wanted(samples, agent)
        means.append(float(rewards.mean()))
        batch = {"input_ids": samples, "rewards": rewards, "old_log_probs": log_probs}
        if kind is ReMaxAgent:
            batch["greedy_rewards"] = torch.full_like(rewards, sum(means) / len(means))
        agent.update(batch)
    assert sum(means[-3:]) / 3 > sum(means[:3]) / 3 + 0.2


def test_a_verifier_pays_itself(model: Any) -> None:
    def right(samples: Tensor, mask: Tensor) -> Tensor:
        return ((samples == WANTED) * mask).any(1)

    config = {"policy": model, "learning_rate": 1e-2, "group_size": 8, "max_new_tokens": 4, "missing_eos": 0.0}
    agent = RLVRAgent({**config, "verifier": lambda ids, mask: right(ids, mask).float(), "stop_ids": ()})
    shares = []
    for _ in range(15):
        samples, log_probs = agent.generate_samples(torch.tensor([[3, 4], [6, 4]]))
        assert agent.generated is not None
        shares.append(float(right(samples, agent.generated.response_mask).float().mean()))
        agent.update({"input_ids": samples, "old_log_probs": log_probs})
    assert sum(shares[-3:]) / 3 > sum(shares[:3]) / 3 + 0.2


def test_the_opponent_answers_and_follows(model: Any) -> None:
    agent = SPINAgent({"policy": model, "learning_rate": 3e-3, "max_new_tokens": 3})
    chosen = {name: tensor for name, tensor in toy_pairs().items() if name.startswith("chosen_")}
    losses = [agent.update(chosen)["loss"] for _ in range(10)]
    assert losses[0] == pytest.approx(0.6931, abs=1e-3)
    assert losses[-1] < losses[0] - 0.05
    agent.next_iteration()
    assert agent.update(chosen)["loss"] == pytest.approx(0.6931, abs=1e-3)


def test_given_reference_log_probs_stand_in_for_the_reference(model: Any) -> None:
    start = copy.deepcopy(model)
    with torch.no_grad():
        model.lm_head.weight.mul_(1.5)
    pairs, given = toy_pairs(), {}
    for side in ("chosen", "rejected"):
        ids, mask = pairs[f"{side}_input_ids"], pairs[f"{side}_response_mask"]
        tokens = start(ids).logits.log_softmax(-1)[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]
        given[f"reference_{side}_log_probs"] = torch.nn.functional.pad(tokens, (1, 0)).detach() * mask
    config = {"policy": model, "learning_rate": 1e-9}
    computed = DPOAgent({**config, "reference_policy": start}).update(pairs)["loss"]
    summed = {name: tensor.sum(1) for name, tensor in given.items()}
    for known in (given, summed):
        found = DPOAgent(config).update(pairs | known)["loss"]
        assert found == pytest.approx(computed, abs=1e-5)


def test_the_reference_is_frozen_and_the_policys_flags_come_back(model: Any) -> None:
    reference = copy.deepcopy(model).train()
    model.train()
    agent = DPOAgent({"policy": model, "reference_policy": reference, "learning_rate": 1e-2})
    before = {name: parameter.clone() for name, parameter in reference.named_parameters()}
    agent.update(toy_pairs())
    assert model.training
    assert not reference.training
    assert not any(parameter.requires_grad for parameter in reference.parameters())
    assert all(torch.equal(before[name], parameter) for name, parameter in reference.named_parameters())


def test_without_masks_everything_is_trained_and_a_warning_says_so(model: Any) -> None:
    batch = {name: torch.randint(2, 12, (2, 6)) for name in ("chosen_input_ids", "rejected_input_ids")}
    agent = DPOAgent({"policy": model})
    with pytest.warns(UserWarning, match="_response_mask' is given"):
        metrics = agent.update(batch)
    assert metrics["response_length"] == 5.0


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"chosen_input_ids": None}, "has no 'chosen_input_ids'"),
        ({"chosen_input_ids": torch.rand(2, 4)}, "float32"),
        ({"chosen_attention_mask": torch.ones(2, 9)}, r"the shape \(2, 9\)"),
        ({"chosen_response_mask": torch.zeros(2, 4)}, "nothing of row 0"),
        ({"reference_chosen_log_probs": torch.ones(2)}, "of one side alone"),
        ({"reference_chosen_log_probs": torch.ones(1), "reference_rejected_log_probs": torch.ones(2)}, "has 1 rows"),
    ],
)
def test_wrong_pairs_are_said(model: Any, change: Batch, complaint: str) -> None:
    batch = {name: tensor for name, tensor in (toy_pairs() | change).items() if tensor is not None}
    with pytest.raises(DataError, match=complaint):
        DPOAgent({"policy": model}).update(batch)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"rewards": torch.tensor([1.0])}, "1 numbers for 2 rows"),
        ({"rewards": torch.tensor([1.0, float("nan")])}, "nan in row 1"),
        ({"old_log_probs": torch.zeros(2)}, "token by token"),
        ({"old_log_probs": torch.zeros(2, 1)}, r"shape \(2, 1\)"),
        ({"group_ids": torch.tensor([0])}, "1 numbers for 2 rows"),
    ],
)
def test_wrong_samples_are_said(model: Any, change: Batch, complaint: str) -> None:
    batch = padded([(3, 4, 5, END), (3, 4, 6, END)], [2, 2])
    batch |= {"rewards": torch.tensor([1.0, 0.0]), "old_log_probs": torch.zeros(2, 4)} | change
    with pytest.raises(DataError, match=complaint):
        GRPOAgent({"policy": model, "group_size": 2}).update(batch)


def test_rows_of_different_prompts_are_no_group(model: Any) -> None:
    batch = padded([(3, 4, 5, END), (3, 9, 6, END)], [2, 2])
    batch |= {"rewards": torch.tensor([1.0, 0.0]), "old_log_probs": torch.zeros(2, 4)}
    with pytest.raises(DataError, match="different prompts"):
        GRPOAgent({"policy": model, "group_size": 2}).update(batch)
    with pytest.raises(DataError, match="no whole groups of 3"):
        GRPOAgent({"policy": model, "group_size": 3}).update(batch)
    with pytest.raises(DataError, match="greedy_rewards"):
        ReMaxAgent({"policy": model}).update(batch)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda model: DPOAgent({}), "no 'policy'"),
        (lambda model: DPOAgent({"policy": model, "betta": 0.1}), "Did you mean 'beta'"),
        (lambda model: DPOAgent({"policy": model, "beta": -1.0}), "above 0"),
        (lambda model: GRPOAgent({"policy": model, "temperature": 0.0}), "more than 0"),
        (lambda model: DPOAgent({"policy": model, "reference_policy": model}), "the policy itself"),
        (lambda model: RLVRAgent({"policy": model}), "no 'verifier'"),
    ],
)
def test_wrong_settings_are_said(model: Any, make: Callable[[Any], Agent], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        make(model)


def test_the_example_of_the_documentation_runs() -> None:
    text = (Path(__file__).parents[2] / "docs" / "agents.md").read_text(encoding="utf-8")
    _, code, *_ = text.replace("```python", "```").split("```")
    scope: dict[str, Any] = {}
    exec(compile(code, "docs/agents.md", "exec"), scope)
    assert scope["last"] > scope["first"]
    assert issubclass(DataError, AccordError)
