"""A tiny policy and examples with its token ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from accord.objectives import OBJECTIVES, signature_of
from accord.policy.action_values import ActionValues
from accord.policy.load import load_policy
from accord.policy.policy import Policy
from accord.policy.reference import LogprobCache, Reference
from accord.record import Group
from accord.testing import tiny_model
from accord.train.annotators import annotator_groups
from accord.train.collate import Example, make_examples
from accord.train.next_states import with_next_states
from accord.train.step import Task
from accord.train.values import reward_head


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny"), "llama")


@pytest.fixture(scope="module", autouse=True)
def module_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """For what fixtures of a module train: never the user's own cache, nor references that another module packed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCORD_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCORD_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def make_task(tiny: Path, tmp_path: Path) -> Callable[..., tuple[Task, list[Example]]]:
    """An objective with a fresh policy, its reference computed, and the Groups as examples."""

    def make(name: str, groups: Sequence[Group], **settings: object) -> tuple[Task, list[Example]]:
        needs = signature_of(OBJECTIVES[name]).needs
        policy: Policy = load_policy(tiny, **settings)  # type: ignore[arg-type]
        policy.reward_head = reward_head(policy, needs, groups)
        if "target_q" in needs:
            policy.action_values = ActionValues.on(policy.model, policy.source, polyak=0.1, seed=0)
        encoded = [policy.renderer.encode(group) for group in groups]
        examples = make_examples(groups, encoded, mismatch="mismatched_kl" in needs)
        if "next_value" in needs:
            examples = with_next_states(examples, policy, max_length=None)
        reference = Reference(policy.fingerprint(), LogprobCache(tmp_path / "cache.sqlite"))
        batch = [*encoded, *(example.mismatched for example in examples if example.mismatched is not None)]
        reference.compute(policy, reference.missing(batch), micro_batch_tokens=512)
        teachers = (load_policy(tiny_model(tmp_path / "teacher", "llama", seed=1)),) if "teacher" in needs else ()
        task = Task(OBJECTIVES[name], {}, policy, reference, teachers=teachers, annotators=annotator_groups(groups))
        return task, examples

    return make
