"""Prompts and a policy to Groups of sampled responses."""

from accord.rollout.progress import progress_bar
from accord.rollout.rollout import rollout

__all__ = ["progress_bar", "rollout"]
