"""Prompts and a policy to Groups of sampled responses."""

from accord.rollout.gap import Gap, sampler_gap
from accord.rollout.progress import progress_bar
from accord.rollout.rollout import rollout

__all__ = ["Gap", "progress_bar", "rollout", "sampler_gap"]
