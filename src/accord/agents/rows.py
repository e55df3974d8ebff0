"""The agents by name: each a method of `accord train`, the kind of its batches, and names of its own for settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from accord.agents.agent import Agent, Row
from accord.agents.batches import Batch, column_of, sequences, tensor_of
from accord.errors import ConfigError
from accord.feedback.rlvr import rlvr

Verifier = Callable[[Tensor, Tensor], Tensor]
"""Says of samples `[N,L]` with their response mask `[N,L]` which are right, `[N]`: 1 or 0, or a grade between."""


class DPOAgent(Agent):
    """Direct preference optimisation on pairs; `beta` 0.1."""

    row = Row("dpo", "pairs")


class IPOAgent(Agent):
    """Identity preference optimisation on pairs; `beta` is its `tau`, 0.1."""

    row = Row("ipo", "pairs", {"beta": "tau"})


class SimPOAgent(Agent):
    """Simple preference optimisation on pairs, without a reference; `beta` 2, `gamma` 0.5."""

    row = Row("simpo", "pairs")


class ORPOAgent(Agent):
    """Odds ratio preference optimisation on pairs, without a reference; `lambda_weight` 0.1."""

    row = Row("orpo", "pairs", {"lambda_weight": "weight"})


class KTOAgent(Agent):
    """Kahneman-Tversky optimisation on labelled rows; `beta` 0.1, `lambda_good` and `lambda_bad` 1."""

    row = Row("kto", "labels", {"lambda_good": "desirable_weight", "lambda_bad": "undesirable_weight"})


class GRPOAgent(Agent):
    """Group relative policy optimisation on scored samples; `beta` prices the divergence in the loss."""

    row = Row("grpo", "scores", {"beta": "kl_loss"})


class RLOOAgent(Agent):
    """REINFORCE leave-one-out on scored samples; `beta` prices the divergence in the reward."""

    row = Row("rloo", "scores", {"beta": "kl_reward"})


class ReMaxAgent(Agent):
    """REINFORCE with the greedy answer's reward as baseline: batches have `greedy_rewards`."""

    row = Row("remax", "scores", {"beta": "kl_reward"})


class PPOAgent(Agent):
    """Proximal policy optimisation on scored samples, with a critic; `beta` prices the divergence in the reward."""

    row = Row("ppo", "scores", {"beta": "kl_reward"})


class SPINAgent(Agent):
    """Self-play fine-tuning: DPO of demonstrations over what the opponent, the policy of the last iteration, answers.

    Batches are pairs; where there is no `rejected_input_ids`, the opponent answers the prompts of the chosen rows.

    Source: Chen et al. 2024, "Self-play fine-tuning" (arXiv:2401.01335), algorithm 1.
    """

    row = Row("dpo", "pairs")

    def next_iteration(self) -> None:
        """Make the policy as it is now the opponent."""
        assert self.reference is not None
        self.reference.policy.model.load_state_dict(self.policy.model.state_dict())

    def _completed(self, batch: Batch) -> Batch:
        if "rejected_input_ids" in batch or "chosen_input_ids" not in batch:
            return batch
        assert self.reference is not None
        chosen = sequences(batch, "chosen_")
        prompts = [ids[: chosen.start(row)] for row, ids in enumerate(chosen.ids)]
        ids = tensor_of(batch, "chosen_input_ids")
        padded = ids.new_zeros(len(ids), max(map(len, prompts)))
        attended = torch.zeros_like(padded)
        for row, prompt in enumerate(prompts):
            padded[row, : len(prompt)], attended[row, : len(prompt)] = ids.new_tensor(prompt), 1
        drawn = self._drawn(self.reference.policy, padded, attended)
        parts = ("input_ids", "attention_mask", "response_mask")
        return {**batch, **{f"rejected_{part}": getattr(drawn, part) for part in parts}}


class RLVRAgent(Agent):
    """GRPO on verifiable rewards: `verifier` says which samples are right; a batch's own `rewards` come on top.

    A right answer is paid `alpha` (10), an answer that does not end by itself `missing_eos` (-10) instead.
    """

    row = Row("grpo", "scores", {"beta": "kl_loss"})

    def __init__(self, config: Mapping[str, Any]) -> None:
        rest = dict(config)
        verifier = rest.pop("verifier", None)
        if not callable(verifier):
            mend = "Give a function of samples and their response mask, [N,L] each, to 1 or 0 for each row."
            raise ConfigError("the configuration has no 'verifier'", where="RLVRAgent", mend=mend)
        self.verifier: Verifier = verifier
        self.paid = {key: float(rest.pop(key)) for key in ("alpha", "missing_eos") if key in rest}
        super().__init__(rest)

    def _completed(self, batch: Batch) -> Batch:
        batch = super()._completed(batch)
        rows = sequences(batch)
        ids = tensor_of(batch, "input_ids")
        mask = tensor_of(batch, "response_mask") if "response_mask" in batch else torch.ones_like(ids)
        verified = column_of({"verifier": self.verifier(ids, mask)}, "verifier", len(rows))
        stops = self.settings.stop_ids
        ended = [not stops or row[-1] in stops for row in rows.ids]
        rewards = torch.tensor([rlvr(v, end, **self.paid) for v, end in zip(verified, ended, strict=True)])
        if "rewards" in batch:
            rewards += torch.tensor(column_of(batch, "rewards", len(rows)))
        return {**batch, "rewards": rewards}
