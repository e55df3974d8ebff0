"""A small group of annotators with a taste of its own: group-robust training serves it better than plain DPO."""

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from statistics import fmean

import msgspec
import pytest
import torch

from accord.policy.load import load_policy
from accord.policy.policy import Policy
from accord.policy.sample import Sampling
from accord.record import Group
from accord.rollout import rollout
from accord.train.config import TrainConfig
from accord.train.run import run_training
from accord.world.annotators import PLURALISTS, prefer
from accord.world.base import BASE
from accord.world.cases import cases
from accord.world.oracle import judge
from accord.world.town import draw_town


def pairs(count: int, seed: int) -> dict[str, list[Group]]:
    """The same answers of the base model, compared by each kind of annotator."""
    stream = cases(draw_town(0), "align", seed=seed)
    groups = [case.group() for case in islice(stream, count)]
    sampling = Sampling(temperature=1.0, max_tokens=48, seed=seed)
    answered = [judge(group) for group in rollout(load_policy(BASE), groups, n=6, sampling=sampling)]
    bare = [msgspec.structs.replace(group, feedback=()) for group in answered]
    return {name: list(prefer(bare, annotator, seed=seed)) for name, annotator in PLURALISTS.items()}


def trained(objective: str, training: Sequence[Group], held_out: Sequence[Group], out: Path) -> Policy:
    config = TrainConfig(
        objective=objective,
        model=str(BASE),
        data=("pairs",),
        out=str(out),
        epochs=2,
        batch_size=32,
        lr=3e-4,
        samples=0,
        log_every=1000,
    )
    policy = run_training(config, groups=training, eval_groups=held_out).policy
    assert policy is not None
    return policy


def accuracies(policy: Policy, by_name: Mapping[str, Sequence[Group]]) -> dict[str, float]:
    """Share of each group's pairs in which the preferred response gained more probability than the other."""
    start = load_policy(BASE)
    found = {}
    for name, groups in by_name.items():
        right = []
        for group in groups:
            encoded = [policy.renderer.encode(group)]
            with torch.inference_mode():
                gained = (policy.logprobs(encoded) - start.logprobs(encoded)).sum(-1)[0]
            right += [float(gained[one.better] > gained[one.worse]) for one in group.preferences()]
        found[name] = fmean(right)
    return found


@pytest.mark.learning
def test_the_group_that_is_served_worst_is_served_better(tmp_path: Path) -> None:
    """A tenth of the pairs are of annotators who like warm words; a third kind is never trained on."""
    by_name, aside = pairs(300, seed=5), pairs(300, seed=6)
    training = [*by_name["brisk"][:250], *by_name["warm"][:30]]
    held_out = [group for groups in aside.values() for group in groups]
    plain, robust = (
        accuracies(trained(name, training, held_out, tmp_path / name), aside) for name in ("dpo", "group_dpo")
    )
    assert min(plain, key=plain.__getitem__) == "warm"
    assert min(robust.values()) > plain["warm"] + 0.03
    lines = [json.loads(line) for line in (tmp_path / "group_dpo" / "metrics.jsonl").read_text().splitlines()]
    measured = {key for line in lines for key in line}
    assert {f"eval/accuracy_{group}" for group in (0, 1, "unseen")} <= measured
