"""Scores of given answers beside lm-eval's and RewardBench's."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from accord.evaluate import Subject, measure
from accord.evaluate.ask import LIKELIHOOD
from accord.evaluate.suites.rewardbench import SECTIONS, rewardbench
from accord.evaluate.suites.rewardbench2 import rewardbench2
from accord.evaluate.suites.truthfulqa import truthful
from accord.record import Feedback, Group, Response
from benchmarks.published import Compared, from_source


def truthful_mass(work: Path) -> Iterator[Compared]:
    """lm-eval's MC2 of the same log-likelihoods."""
    source = from_source("lm_eval", "tasks/truthfulqa/utils.py", ["process_results_mc2"], np=np)
    draw = np.random.default_rng(4)
    ours, theirs = [], []
    for _ in range(200):
        labels = [1, 0, *draw.integers(0, 2, draw.integers(0, 8)).tolist()]
        found = draw.normal(-40, 15, len(labels))
        theirs.append(
            float(
                source.process_results_mc2({"mc2_targets": {"labels": labels}}, [(one, False) for one in found])["acc"]
            )
        )
        item = Group(
            "q",
            tuple(Response(str(place)) for place in range(len(labels))),
            (Feedback("verifier", scores={LIKELIHOOD: tuple(found.tolist())}),),
            answer={"MC2": [(place, bool(label)) for place, label in enumerate(labels)]},
        )
        mass = truthful(item)["MC2"]
        assert mass is not None
        ours.append(float(mass))
    yield "TruthfulQA MC2", f"lm-eval {version('lm-eval')}", "200 questions", ours, theirs, 1e-12


def reward_scores(work: Path) -> Iterator[Compared]:
    """RewardBench's sections, and RewardBench 2's Ties."""
    constants = from_source("rewardbench", "constants.py", ["EXAMPLE_COUNTS", "SUBSET_MAPPING"])
    source = from_source(
        "rewardbench",
        "utils.py",
        ["calculate_scores_per_section", "sample_stats", "process_single_model"],
        np=np,
        math=math,
        Dataset=SimpleNamespace(from_dict=dict),
    )
    draw = np.random.default_rng(5)
    rewards: dict[str, float] = {}

    def subject() -> Subject:
        def score(items: Sequence[Group]) -> list[tuple[float | None, ...]]:
            return [tuple(rewards[one.text] for one in item.responses) for item in items]

        return Subject("rewards", "rewards", rewards=score)

    rows, right = [], defaultdict(list)
    for subset in [name for sizes in SECTIONS.values() for name in sizes]:
        for place in range(8):
            better, worse = (f"{subset} {place} {side}" for side in ("better", "worse"))
            rewards |= {better: float(draw.integers(0, 5)), worse: float(draw.integers(0, 4))}
            right[subset].append(rewards[better] > rewards[worse])
            rows.append({"prompt": f"{subset} {place}?", "chosen": better, "rejected": worse, "subset": subset})
    path = work / "filtered.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = measure(rewardbench(str(path)), subject())
    accuracy = {subset: float(np.mean(one)) for subset, one in right.items()}
    sections = source.calculate_scores_per_section(constants.EXAMPLE_COUNTS, constants.SUBSET_MAPPING, accuracy)
    swapped = {"xstest-should-refuse": 154, "xstest-should-respond": 250}
    sized = source.calculate_scores_per_section(
        {**constants.EXAMPLE_COUNTS, **swapped}, constants.SUBSET_MAPPING, accuracy
    )
    program = f"rewardbench {version('rewardbench')}"
    ours = [found.estimates["strict"].mean, *(found.slices["section"][name]["strict"].mean for name in sections)]
    inputs = f"{len(rows)} pairs in {len(accuracy)} subsets"
    note = "" if sections == sized else ", with the sizes of its paper for XSTest"
    theirs = [float(np.mean(list(sized.values()))), *sized.values()]
    yield "RewardBench score and sections", program + note, inputs, ours, theirs, 1e-12

    tied = []
    for place in range(40):
        for kind, count in (("ref", 1), ("tied", int(draw.integers(2, 6)))):
            texts = [f"{kind} {place} {k}" for k in range(count + 4)]
            values = np.concatenate([draw.normal(1.5, 0.7, count), draw.normal(0, 0.7, 4)])
            rewards |= dict(zip(texts, values.tolist(), strict=True))
            tied.append({"id": f"{kind}:{place}", "texts": texts, "scores": values.tolist(), "num_correct": count})
    path = work / "ties.jsonl"
    path.write_text(
        "".join(
            json.dumps(
                {
                    "id": row["id"],
                    "subset": "Ties",
                    "prompt": f"{row['id']}?",
                    "chosen": row["texts"][: row["num_correct"]],
                    "rejected": row["texts"][row["num_correct"] :],
                }
            )
            + "\n"
            for row in tied
        )
    )
    _, overall = source.process_single_model(tied)
    found = measure(rewardbench2(str(path)), subject())
    yield (
        "RewardBench 2, Ties",
        program,
        f"{len(tied)} prompts",
        [found.estimates["score"].mean],
        [float(overall)],
        1e-12,
    )
