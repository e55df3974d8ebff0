"""Win rates, ratings and clustered errors beside AlpacaEval's, FastChat's, choix's, Inspect's and statsmodels'."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from scipy import stats
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from accord.chat.spec import ScriptChat
from accord.chat.types import Request
from accord.evaluate import Subject, measure
from accord.evaluate.contests import Contest
from accord.evaluate.length_control import Gamed, length_controlled_win_rate
from accord.evaluate.ratings import SCALE, bradley_terry, elo_update
from accord.evaluate.statistics import mean_estimate
from accord.evaluate.suites.mt_bench import mt_bench_pairs
from benchmarks.published import Compared, from_source, quiet


def length_control(work: Path) -> Iterator[Compared]:
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
    ours, theirs, converged = [], [], []
    stops, goes_on = (
        glm_winrate.LogisticRegressionCV,
        partial(glm_winrate.LogisticRegressionCV, tol=1e-10, max_iter=20000),
    )
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
        for fit, found in ((stops, theirs), (goes_on, converged)):
            glm_winrate.LogisticRegressionCV = fit
            with quiet():
                rates = glm_winrate.get_length_controlled_winrate(
                    table, save_weights_dir=None, is_warn_extreme_changes=False
                )
            found.append(rates["length_controlled_winrate"] / 100)
        ours.append(length_controlled_win_rate(preference, difference, difficulty, gamed))
    inputs = f"{count} models, {n} instructions, 2 gamed baselines"
    program = f"alpaca-eval {version('alpaca-eval')}, scikit-learn {sklearn.__version__}"
    yield "length-controlled win rate", program, inputs, ours, theirs, 1e-3
    yield "length-controlled win rate", f"{program}, its fit run to the end", inputs, ours, converged, 1e-9


def clustered_errors(work: Path) -> Iterator[Compared]:
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


def both_orders(work: Path) -> Iterator[Compared]:
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


def ratings(work: Path) -> Iterator[Compared]:
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
