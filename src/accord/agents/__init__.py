"""Methods for a loop of one's own: an agent from a policy and a configuration, `update(batch)`, `generate_samples`.

    agent = DPOAgent({"policy": model, "reference_policy": reference, "beta": 0.1})
    metrics = agent.update({"chosen_input_ids": ..., "rejected_input_ids": ..., ...})

Tensors in, tensors out, one optimiser step a call; the losses are those of `accord train`.
"""

from accord.agents.agent import Agent, Row
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
    "DPOAgent",
    "GRPOAgent",
    "IPOAgent",
    "KTOAgent",
    "ORPOAgent",
    "PPOAgent",
    "RLOOAgent",
    "RLVRAgent",
    "ReMaxAgent",
    "Row",
    "SPINAgent",
    "Samples",
    "SimPOAgent",
]
