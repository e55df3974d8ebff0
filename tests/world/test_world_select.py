"""Sample, score, select, train: one pipe of JSONL files, which raises the oracle's score."""

from pathlib import Path

import pytest

from accord.cli.app import main
from accord.policy.load import load_policy
from accord.recipes.world_evaluation import answer, evaluate
from accord.record import Group, read_groups, write_groups
from accord.world.base import BASE
from accord.world.cases import cases, distinct_cases
from accord.world.oracle import judge
from accord.world.town import draw_town

TOWN = draw_town(0)
HELD_OUT = distinct_cases(TOWN, "test", 200, seed=0)
TRAIN = ["--lr", "1e-3", "--batch-size", "16", "--schedule", "linear", "--samples", "0", "--holdout", "0"]


def run(*words: str | Path) -> None:
    assert main([str(word) for word in words]) == 0


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight answers of the base model to each of 250 prompts, with the oracle's scores."""
    folder = tmp_path_factory.mktemp("select")
    stream = cases(TOWN, "align", seed=3)
    write_groups(folder / "prompts.jsonl", [next(stream).group() for _ in range(250)])
    drawn = folder / "drawn.jsonl"
    run("sample", "--model", BASE, "--data", folder / "prompts.jsonl", "--n", "8", "--max-tokens", "48", "--out", drawn)
    write_groups(folder / "scored.jsonl", [judge(group) for group in read_groups(drawn)])
    return folder / "scored.jsonl"


@pytest.fixture(scope="module")
def before() -> list[Group]:
    return answer(load_policy(BASE), HELD_OUT, seed=0)


@pytest.mark.learning
@pytest.mark.parametrize(
    ("selection", "training", "gain"),
    [
        (["best-of-n"], ["sft", "--epochs", "2"], 0.15),
        (["raft", "--threshold", "1"], ["sft", "--epochs", "2"], 0.15),
        (["rs-dpo", "--temperature", "0.2"], ["dpo", "--nll", "0.2", "--epochs", "2"], 0.15),
    ],
    ids=lambda words: words[0] if isinstance(words, list) else "",
)
def test_the_pipe_raises_gold(
    selection: list[str], training: list[str], gain: float, scored: Path, before: list[Group], tmp_path: Path
) -> None:
    chosen, out = tmp_path / "chosen.jsonl", tmp_path / "run"
    run("select", *selection, "--data", scored, "--out", chosen)
    run("train", *training, "--model", BASE, "--data", chosen, "--out", out, *TRAIN)
    after = answer(load_policy(out / "model"), HELD_OUT, seed=0)
    gold = evaluate(HELD_OUT, before, after).comparison("gold")
    assert gold.verdict == "better"
    assert gold.difference.mean > gain
