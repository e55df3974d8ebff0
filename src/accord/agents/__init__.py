"""Methods for a loop of one's own: an agent from a policy and a configuration, `update(batch)`, `generate_samples`.

    agent = DPOAgent({"policy": model, "reference_policy": reference, "beta": 0.1})
    metrics = agent.update({"chosen_input_ids": ..., "rejected_input_ids": ..., ...})

Tensors in, tensors out, one optimiser step a call; the losses are those of `accord train`.

    found = evaluate_alignment(answer, prompts, {"helpfulness": helpful, "harmlessness": harmless})

Evaluators of answers by functions of one's own, with the intervals and degenerate models of `accord evaluate`.
"""

from accord.agents.agent import Agent, Row
from accord.agents.alignment_report import AlignmentReport, AlignmentReportGenerator, generate_alignment_report
from accord.agents.evaluators import (
    AlignmentEvaluator,
    MultiObjectiveAlignmentEvaluator,
    PreferenceAlignmentEvaluator,
    evaluate_alignment,
)
from accord.agents.rows import (
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
from accord.agents.samples import Samples

__all__ = [
    "Agent",
    "AlignmentEvaluator",
    "AlignmentReport",
    "AlignmentReportGenerator",
    "DPOAgent",
    "GRPOAgent",
    "IPOAgent",
    "KTOAgent",
    "MultiObjectiveAlignmentEvaluator",
    "ORPOAgent",
    "PPOAgent",
    "PreferenceAlignmentEvaluator",
    "RLOOAgent",
    "RLVRAgent",
    "ReMaxAgent",
    "Row",
    "SPINAgent",
    "Samples",
    "SimPOAgent",
    "evaluate_alignment",
    "generate_alignment_report",
]
