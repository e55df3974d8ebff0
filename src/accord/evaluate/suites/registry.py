"""The suites that are called by name. One that is added here is known to the command line and to its help.

A suite is a function `(data, *, options) -> Task`: `data` is a file, a directory or the id of a public data set, and
its keyword-only parameters are its options. One whose answers a judge scores has the option `judge: Chat`. One that
needs no data has no `data`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from accord.evaluate.task import Task

Need = Literal[
    "answers", "log-probabilities", "rewards", "rewards or log-probabilities", "choices", "what the other task needs"
]


@dataclass(frozen=True)
class Suite:
    """What the registry knows of a suite without reading its data.

    Attributes:
        target: `module:function` that makes the task.
        says: what it measures, one sentence.
        needs: what the model must be able to do.
        reads: the format of its files; empty where it needs none.
        hub: id of its data set, looked for in the local cache where no path is given.
        files: names that its data go by, beside its own, in a directory with those of several suites.
        judged: whether a judge scores the answers.
    """

    target: str
    says: str
    needs: Need
    reads: str = ""
    hub: str = ""
    files: tuple[str, ...] = ()
    judged: bool = False


def suite_function(suite: Suite) -> Callable[..., Task]:
    """The function that makes a suite's task."""
    module, _, function = suite.target.partition(":")
    build: Callable[..., Task] = getattr(importlib.import_module(module), function)
    return build


_HOME = "accord.evaluate.suites"

SUITES: dict[str, Suite] = {
    "hhh": Suite(
        f"{_HOME}.hhh:hhh",
        "Whether the better of two answers is the likelier: helpful, honest, harmless.",
        "rewards or log-probabilities",
        reads="rows with input and target_scores (BIG-bench) or targets with choices and labels, in JSON or JSONL",
        hub="HuggingFaceH4/hhh_alignment",
    ),
    "truthfulqa": Suite(
        f"{_HOME}.truthfulqa:truthfulqa",
        "Whether true answers are likelier than common misconceptions: MC0 to MC3.",
        "log-probabilities",
        reads="the authors' CSV (Question, Best Answer, Correct Answers, Incorrect Answers) or mc_task.json",
        hub="truthfulqa/truthful_qa:multiple_choice",
    ),
    "preference": Suite(
        f"{_HOME}.preference:preference",
        "Whether the preferred response is the likelier or better rewarded one, on any preferences.",
        "rewards or log-probabilities",
        reads="any file of preferences that accord data check reads",
    ),
    "rewardbench": Suite(
        f"{_HOME}.rewardbench:rewardbench",
        "RewardBench: the better of two answers, over chat, safety, code and mathematics.",
        "rewards or log-probabilities",
        reads="rows with prompt, chosen, rejected, subset",
        hub="allenai/reward-bench",
    ),
    "rewardbench2": Suite(
        f"{_HOME}.rewardbench2:rewardbench2",
        "RewardBench 2: the best of four answers, and several that are equally right.",
        "rewards or log-probabilities",
        reads="rows with prompt, lists chosen and rejected, subset, id",
        hub="allenai/reward-bench-2",
    ),
    "calibration": Suite(
        f"{_HOME}.calibration:calibration",
        "Whether a model is as sure of its choices as it is right; selective answering.",
        "choices",
        reads="questions with choices and answer (MMLU) or answerKey (ARC)",
    ),
    "perplexity": Suite(
        f"{_HOME}.perplexity:perplexity",
        "How well a model predicts texts: perplexity, bits per byte.",
        "log-probabilities",
        reads="text files, or rows with a column text",
    ),
    "robustness": Suite(
        f"{_HOME}.robustness:robustness",
        "What becomes of another suite's number under typos, case, white space, paraphrase and wrappers.",
        "what the other task needs",
    ),
    "lm_eval": Suite(
        "accord.evaluate.bridges.harness:lm_eval_task",
        "A task of lm-eval, by its name; needs the extra lm-eval.",
        "what the other task needs",
    ),
    "world": Suite(
        f"{_HOME}.world:world",
        "Answers to held-out prompts of the embedded world, judged by its exact oracle.",
        "answers",
    ),
    "mt_bench": Suite(
        f"{_HOME}.mt_bench:mt_bench",
        "MT-Bench: answers in two turns, rated from 1 to 10.",
        "answers",
        reads="FastChat's question.jsonl, or its directory with reference_answer/",
        judged=True,
    ),
    "mt_bench_pairs": Suite(
        f"{_HOME}.mt_bench:mt_bench_pairs",
        "MT-Bench: answers in two turns, against a baseline's, in both orders.",
        "answers",
        reads="FastChat's question.jsonl; the option baseline= names a file of model_answer/",
        files=("mt_bench",),
        judged=True,
    ),
    "alpaca_eval": Suite(
        f"{_HOME}.alpaca_eval:alpaca_eval",
        "AlpacaEval: win rate and length-controlled win rate against a baseline.",
        "answers",
        reads="the baseline's outputs: instruction, output, dataset (alpaca_eval_gpt4_baseline.json)",
        judged=True,
    ),
    "xstest": Suite(
        f"{_HOME}.xstest:xstest",
        "Over-refusal of safe requests, beside the refusal of their unsafe twins.",
        "answers",
        reads="XSTest's prompts: prompt, type, perhaps label, focus, id_v2",
        files=("xstest_v2_prompts",),
        judged=True,
    ),
    "xstest_by_rule": Suite(
        f"{_HOME}.xstest:xstest_by_rule",
        "The same, with refusals told by English phrases: a heuristic.",
        "answers",
        reads="XSTest's prompts: prompt, type, perhaps label, focus, id_v2",
        files=("xstest", "xstest_v2_prompts"),
    ),
    "strongreject": Suite(
        f"{_HOME}.harm:strongreject",
        "StrongREJECT: how far answers to forbidden requests help.",
        "answers",
        reads="category, source, forbidden_prompt",
        files=("strongreject_dataset",),
        judged=True,
    ),
    "harmbench": Suite(
        f"{_HOME}.harm:harmbench",
        "Share of harmful behaviours that a model shows when it is asked for them.",
        "answers",
        reads="HarmBench's text behaviours: Behavior, SemanticCategory, ContextString, BehaviorID",
        judged=True,
    ),
    "are_you_sure": Suite(
        f"{_HOME}.are_you_sure:are_you_sure",
        "Whether doubt makes a model take back right answers.",
        "answers",
        reads="SycophancyEval's are_you_sure.jsonl",
        judged=True,
    ),
    "are_you_sure_by_rule": Suite(
        f"{_HOME}.are_you_sure:are_you_sure_by_rule",
        "The same, with answers and admissions told by their words: a heuristic.",
        "answers",
        reads="SycophancyEval's are_you_sure.jsonl",
        files=("are_you_sure",),
    ),
    "answer_sycophancy": Suite(
        f"{_HOME}.sycophancy:answer_sycophancy",
        "How far a person's belief changes which answers are right.",
        "answers",
        reads="SycophancyEval's answer.jsonl",
        files=("answer",),
        judged=True,
    ),
    "answer_sycophancy_by_rule": Suite(
        f"{_HOME}.sycophancy:answer_sycophancy_by_rule",
        "The same, with right answers told by their words: a heuristic.",
        "answers",
        reads="SycophancyEval's answer.jsonl",
        files=("answer_sycophancy", "answer"),
    ),
    "feedback_sycophancy": Suite(
        f"{_HOME}.sycophancy:feedback_sycophancy",
        "How much more positive feedback is for one who likes or wrote the text.",
        "answers",
        reads="SycophancyEval's feedback.jsonl",
        files=("feedback",),
        judged=True,
    ),
}
"""The suites; one that is added here is known to the command line and to its help."""
