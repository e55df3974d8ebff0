"""The models that a training's settings name: the policy, and those that stand beside it."""

from __future__ import annotations

from collections.abc import Container

from accord.policy.blend import require_same_vocabulary
from accord.policy.load import load_policy
from accord.policy.moving import MovingReference
from accord.policy.policy import Policy
from accord.policy.sharding import is_sharded
from accord.train import distributed
from accord.train.config import TrainConfig

OTHER_VOCABULARY = (
    "Distributions over different tokens cannot be compared. Learn from what the teacher writes instead: accord train "
    "sft --teacher MODEL imitates it, accord train dpo --teacher MODEL prefers it to what the policy writes."
)


def load(config: TrainConfig, *, reward: bool, lora: bool = True) -> Policy:
    """The model that the settings name."""
    return load_policy(
        config.model,
        dtype=config.dtype,
        device=config.device,
        lora_r=config.lora_r if lora else 0,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        reward=reward,
        chat=config.chat,
        seed=config.seed,
        gradient_checkpointing=config.gradient_checkpointing,
        compile=config.compile,
        shard=distributed.shards(config),
        trust_remote_code=config.trust_remote_code,
    )


def load_frozen(config: TrainConfig, model: str) -> Policy:
    """A model beside the trained one, with the settings of the run, in shares if that is, which no gradient reaches."""
    frozen = load_policy(
        model,
        dtype=config.dtype,
        device=config.device,
        chat=config.chat,
        shard=distributed.shards(config),
        trust_remote_code=config.trust_remote_code,
    )
    frozen.model.requires_grad_(False)
    return frozen


def load_teachers(config: TrainConfig, policy: Policy, needs: Container[str]) -> tuple[Policy, ...]:
    """The model whose distributions are taught, if any are.

    Raises:
        ModelError: it has another vocabulary than the policy.
    """
    if config.teacher is None or "teacher" not in needs:
        return ()
    teacher = load_frozen(config, config.teacher)
    require_same_vocabulary(policy, teacher, mend=OTHER_VOCABULARY)
    return (teacher,)


def moving_reference(config: TrainConfig, policy: Policy) -> MovingReference:
    """A reference that starts as the policy, which still has its starting weights, and moves as the settings say."""
    beside = load_frozen(config, config.model) if is_sharded(policy.model) and not policy.adapted else None
    return MovingReference(policy, every=config.reference_every, mix=config.reference_mix, beside=beside)
