"""Prompts and a policy to Groups of sampled responses."""

from accord.rollout.environment import Environment, EnvironmentFactory, Turn
from accord.rollout.episodes import rollout_episodes
from accord.rollout.gap import Gap, sampler_gap
from accord.rollout.guided import Guide, guided_rollout
from accord.rollout.progress import progress_bar
from accord.rollout.rollout import rollout
from accord.rollout.server import CompletionServer, RolloutServer, ServerError
from accord.rollout.text_environment import TextGenerationEnvironment
from accord.rollout.vllm import VllmServer

__all__ = [
    "CompletionServer",
    "Environment",
    "EnvironmentFactory",
    "Gap",
    "Guide",
    "RolloutServer",
    "ServerError",
    "TextGenerationEnvironment",
    "Turn",
    "VllmServer",
    "guided_rollout",
    "progress_bar",
    "rollout",
    "rollout_episodes",
    "sampler_gap",
]
