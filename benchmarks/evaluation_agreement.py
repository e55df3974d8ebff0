"""Accord's measures and the published programs', on inputs of ours: the same numbers. Writes `results/evaluation.md`.

It runs in an environment of its own, with the packages that `requirements-evaluation.txt` names:

    python -m benchmarks.evaluation_agreement

Functions of packages that would load much else (servers, trainers, plotting) are taken from their source file alone.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import math
import sys
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import sklearn
from scipy import stats
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from accord.chat.spec import ScriptChat
from accord.chat.types import Request
from accord.evaluate import Subject, measure
from accord.evaluate.ask import LIKELIHOOD
from accord.evaluate.contests import Contest
from accord.evaluate.length_control import Gamed, length_controlled_win_rate
from accord.evaluate.ratings import SCALE, bradley_terry, elo_update
from accord.evaluate.statistics import mean_estimate
from accord.evaluate.suites.mt_bench import mt_bench_pairs
from accord.evaluate.suites.rewardbench import SECTIONS, rewardbench
from accord.evaluate.suites.rewardbench2 import rewardbench2
from accord.evaluate.suites.truthfulqa import truthful
from accord.record import Feedback, Group, Response

RESULTS = Path(__file__).parent / "results"
HEADER = ("what", "published program", "inputs", "largest difference", "tolerance", "agrees")
Numbers = Sequence[float]


def from_source(package: str, path: str, names: Sequence[str], **known: Any) -> SimpleNamespace:
    """Functions and constants of a file of an installed package, without what the file imports."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    file = Path(spec.submodule_search_locations[0]) / path
    tree = ast.parse(file.read_text())
    kept = [
        node
        for node in tree.body
        if getattr(node, "name", None) in names
        or (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in names)
    ]
    space = dict(known)
    exec(compile(ast.Module(kept, []), str(file), "exec"), space)
    return SimpleNamespace(**{name: space[name] for name in names})


def length_control(work: Path) -> Iterator[tuple[str, str, str, Numbers, Numbers, float]]:
    """AlpacaEval's length-controlled win rate: the package itself, with its two downloads replaced by files of ours."""
    from alpaca_eval.metrics import glm_winrate

    n, count = 805, 12
    draw = np.random.default_rng(0)
    difficulty = draw.normal(0, 1, n)
    gamed, rows = [], []
    for name, shift in (("verbose", -900.0), ("concise", 700.0)):
        difference = np.round(draw.normal(shift, 300, n))
        preference = expit(-0.8 * np.tanh(difference / difference.std(ddof=1)) + draw.normal(0, 1, n))
        gamed.append(Gamed(preference, difference))
        rows.append(
            pd.DataFrame(
                {
                    "model": name,
                    "index": np.arange(n),
                    "preference": preference,
                    "std_delta_len": difference / difference.std(ddof=1),
                    "instruction_difficulty": difficulty,
                    "not_gamed_baseline": False,
                }
            )
        )
    pd.concat(rows).to_csv(work / "df_gamed.csv", index=False)
    glm_winrate.hf_hub_download = lambda **settings: str(work / settings["filename"])
    ours, theirs, raw = [], [], []
    for model in range(count):
        theirs_length, ours_length = draw.integers(200, 3000, n), draw.integers(200, 3000 + 200 * model, n)
        difference = (theirs_length - ours_length).astype(float)
        quality = -2 + 4 * model / (count - 1)
        logits = quality - 0.9 * np.tanh(difference / difference.std(ddof=1)) + 0.6 * difficulty
        preference = expit(3 * (logits + draw.normal(0, 1, n)))
        table = pd.DataFrame(
            {
                "preference": preference + 1,
                "output_1": ["x" * length for length in theirs_length],
                "output_2": ["x" * length for length in ours_length],
                "index": np.arange(n),
                "generator_1": "baseline",
                "generator_2": f"model-{model}",
                "annotator": "ours",
            }
        )
        with quiet():
            found = glm_winrate.get_length_controlled_winrate(
                table, save_weights_dir=None, is_warn_extreme_changes=False
            )
        theirs.append(found["length_controlled_winrate"] / 100)
        raw.append(found["win_rate"] / 100)
        ours.append(length_controlled_win_rate(preference, difference, difficulty, gamed))
    inputs = f"{count} models, {n} instructions, 2 gamed baselines"
    program = f"alpaca-eval {version('alpaca-eval')}, scikit-learn {sklearn.__version__}"
    yield "length-controlled win rate", program, inputs, ours, theirs, 1e-3


def clustered_errors(work: Path) -> Iterator[tuple[str, str, str, Numbers, Numbers, float]]:
    """Inspect's clustered standard error, and statsmodels'."""
    from inspect_ai.scorer import SampleScore, Score, stderr
    from statsmodels.api import OLS

    draw = np.random.default_rng(1)
    ours, theirs, models = [], [], []
    for size in (20, 100, 400):
        clusters = draw.integers(0, size // 4, size)
        values = draw.normal(0, 1, size) + draw.normal(0, 1, size)[clusters]
        found = mean_estimate(values, clusters.tolist())
        quantile = stats.t.ppf(0.975, len(np.unique(clusters)) - 1)
        ours.append((found.high - found.low) / 2 / quantile)
        scores = [
            SampleScore(score=Score(value=float(value)), sample_metadata={"prompt": int(cluster)})
            for value, cluster in zip(values, clusters, strict=True)
        ]
        theirs.append(float(stderr(cluster="prompt")(scores)))
        fitted = OLS(values, np.ones(size)).fit(
            cov_type="cluster", cov_kwds={"groups": clusters, "df_correction": False}
        )
        models.append(float(fitted.bse[0]))
    inputs = "20, 100 and 400 items"
    yield "clustered standard error", f"inspect-ai {version('inspect-ai')}", inputs, ours, theirs, 1e-12
    yield "clustered standard error", f"statsmodels {version('statsmodels')}", inputs, ours, models, 1e-12


def both_orders(work: Path) -> Iterator[tuple[str, str, str, Numbers, Numbers, float]]:
    """FastChat's table of MT-Bench by pairs, from the same verdicts in both orders."""
    draw = np.random.default_rng(2)
    questions = 60
    said = draw.choice(["A", "B", "C"], (questions, 2, 2), p=[0.5, 0.3, 0.2])
    (work / "question.jsonl").write_text(
        "".join(
            json.dumps({"question_id": q, "category": "stem", "turns": [f"q{q}a?", f"q{q}b?"]}) + "\n"
            for q in range(questions)
        )
    )
    (work / "base.jsonl").write_text(
        "".join(
            json.dumps({"question_id": q, "choices": [{"index": 0, "turns": ["theirs", "theirs"]}]}) + "\n"
            for q in range(questions)
        )
    )

    def judge(request: Request) -> str:
        text = request.messages[-1].content
        turn = int("b?" in text)
        question = int(text.partition("b?" if turn else "a?")[0].rpartition("q")[2])
        order = int(0 <= text.find("theirs") < text.find("ours") or "ours" not in text)
        return f"[[{said[question, turn, order]}]]"

    subject = Subject("mine", "mine", chat=ScriptChat(lambda request: "ours", name="mine"))
    found = measure(
        mt_bench_pairs(
            str(work / "question.jsonl"), ScriptChat(judge, name="judge"), baseline=str(work / "base.jsonl")
        ),
        subject,
    )
    winners = ({"A": "model_1", "B": "model_2", "C": "tie"}, {"A": "model_2", "B": "model_1", "C": "tie"})
    table = [
        {
            "question_id": q,
            "model_1": "mine",
            "model_2": "base",
            "g1_winner": winners[0][said[q, turn, 0]],
            "g2_winner": winners[1][said[q, turn, 1]],
        }
        for q in range(questions)
        for turn in range(2)
    ]
    (work / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    printed: list[Any] = []
    source = from_source(
        "fastchat",
        "llm_judge/show_result.py",
        ["display_result_pairwise"],
        pd=pd,
        print=lambda *said: printed.extend(said),
    )
    source.display_result_pairwise(
        SimpleNamespace(
            input_file=str(work / "pairs.jsonl"), model_list=None, baseline_model="base", bench_name="mt_bench"
        )
    )
    row = next(one for one in printed if isinstance(one, pd.DataFrame)).loc["mine"]
    ours = [found.estimates[name].mean for name in ("win_rate", "won", "lost")]
    theirs = [float(row[name]) for name in ("win_rate_adjusted", "win_rate", "loss_rate")]
    yield "MT-Bench, both orders", f"fschat {version('fschat')}", f"{2 * questions} turns", ours, theirs, 1e-12


def ratings(work: Path) -> Iterator[tuple[str, str, str, Numbers, Numbers, float]]:
    """FastChat's Bradley-Terry and Elo ratings, and choix's Bradley-Terry without ties."""
    import choix

    draw = np.random.default_rng(3)
    names, strength = [f"m{place}" for place in range(6)], np.linspace(-1, 1, 6)
    battles = []
    for _ in range(1500):
        a, b = draw.choice(6, 2, replace=False)
        tie = draw.random() < 0.2
        won = draw.random() < expit(strength[a] - strength[b])
        battles.append((names[a], names[b], "tie" if tie else "model_a" if won else "model_b"))
    table = pd.DataFrame(battles, columns=["model_a", "model_b", "winner"])
    source = from_source(
        "fastchat",
        "serve/monitor/elo_analysis.py",
        ["compute_elo", "compute_elo_mle_with_tie"],
        pd=pd,
        np=np,
        math=math,
        defaultdict=defaultdict,
    )
    given = sklearn.linear_model.LogisticRegression
    try:
        # As it stands it has scikit-learn's default penalty and tolerance, which no likelihood has.
        sklearn.linear_model.LogisticRegression = partial(LogisticRegression, C=np.inf, tol=1e-12, max_iter=5000)
        with quiet():
            published = source.compute_elo_mle_with_tie(table)
    finally:
        sklearn.linear_model.LogisticRegression = given
    outcome = {"model_a": 1.0, "model_b": 0.0, "tie": 0.5}
    contests = [Contest(a, b, outcome[winner], place) for place, (a, b, winner) in enumerate(battles)]
    fitted = bradley_terry(contests, prior=0).models
    centred = published - published.mean()
    program = f"fschat {version('fschat')}, its penalty taken off"
    inputs = f"6 models, {len(battles)} battles, a fifth of them ties"
    yield (
        "Bradley-Terry rating",
        program,
        inputs,
        [SCALE * fitted[name] for name in names],
        [float(centred[name]) for name in names],
        1e-2,
    )
    elo = dict.fromkeys(names, 1000.0)
    for a, b, winner in battles:
        elo[a], elo[b] = elo_update(elo[a], elo[b], outcome[winner])
    online = source.compute_elo(table)
    yield (
        "Elo rating, K = 4",
        f"fschat {version('fschat')}",
        inputs,
        [elo[name] for name in names],
        [online[name] for name in names],
        1e-9,
    )
    decided = [one for one in contests if one.outcome != 0.5]
    pairs = [
        (names.index(one.first), names.index(one.second))
        if one.outcome == 1
        else (names.index(one.second), names.index(one.first))
        for one in decided
    ]
    without_ties = bradley_terry(decided, prior=0).models
    theirs = choix.opt_pairwise(6, pairs, alpha=0.0, tol=1e-12)
    yield (
        "Bradley-Terry log-odds",
        f"choix {version('choix')}",
        f"6 models, {len(decided)} contests without ties",
        [without_ties[name] for name in names],
        (theirs - theirs.mean()).tolist(),
        1e-5,
    )


def truthful_mass(work: Path) -> Iterator[tuple[str, str, str, Numbers, Numbers, float]]:
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


def reward_scores(work: Path) -> Iterator[tuple[str, str, str, Numbers, Numbers, float]]:
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


COMPARISONS: tuple[Callable[[Path], Iterator[tuple[str, str, str, Numbers, Numbers, float]]], ...] = (
    length_control,
    clustered_errors,
    both_orders,
    ratings,
    truthful_mass,
    reward_scores,
)


def main() -> int:
    lines = []
    for compare in COMPARISONS:
        with tempfile.TemporaryDirectory(prefix="accord-agreement-") as directory:
            for what, program, inputs, ours, theirs, tolerance in compare(Path(directory)):
                difference = float(np.abs(np.asarray(ours) - np.asarray(theirs)).max())
                lines.append(
                    {
                        "what": what,
                        "program": program,
                        "inputs": inputs,
                        "difference": difference,
                        "tolerance": tolerance,
                        "agrees": difference <= tolerance,
                        "accord": [float(one) for one in ours],
                        "published": [float(one) for one in theirs],
                    }
                )
                print(f"{what} ({program}): {difference:.1e}", flush=True)
    (RESULTS / "evaluation.json").write_bytes(msgspec.json.format(msgspec.json.encode({"lines": lines})) + b"\n")
    cells = [
        (
            line["what"],
            line["program"],
            line["inputs"],
            f"{line['difference']:.1e}",
            f"{line['tolerance']:.0e}",
            "yes" if line["agrees"] else "no",
        )
        for line in lines
    ]
    table = "\n".join("| " + " | ".join(row) + " |" for row in (HEADER, ("---",) * len(HEADER), *cells))
    (RESULTS / "evaluation.md").write_text(f"{table}\n\n{CAPTION}\n", encoding="utf-8")
    return 0 if all(line["agrees"] for line in lines) else 1


CAPTION = (
    "Written by `python -m benchmarks.evaluation_agreement` on inputs of ours. Win rates and scores are from 0 to 1, "
    "ratings in points of Elo's scale. The length-controlled win rate differs by where liblinear stops."
)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of packages about packages."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


if __name__ == "__main__":
    sys.exit(main())
