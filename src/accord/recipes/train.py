"""One training, whichever way its settings ask for: on given data, or in rounds of answers that something judges."""

from __future__ import annotations

from rich.console import Console

from accord.errors import ConfigError
from accord.feedback.spec import parse
from accord.objectives.policy_gradient import METHODS
from accord.recipes.align import align
from accord.recipes.judged import train_judged
from accord.recipes.online import train_online
from accord.recipes.self_play import train_self_play
from accord.recipes.teach import train_taught
from accord.train.config import TrainConfig
from accord.train.prepare import checked
from accord.train.run import RunResult


def train(config: TrainConfig, *, console: Console | None = None, fresh: bool = False) -> RunResult:
    """Train as the settings say, judge the result, and report.

    `reward` trains on the policy's own answers as the rewards score them, `judge` as a judge compares them, `self_play`
    against the data's answers, `teacher` on what a teacher says (with `distill` only where `own_answers` asks for the
    policy's own answers, for any other objective on texts that the teacher writes), anything else on the data's own
    feedback.

    Args:
        config: the settings.
        console: where progress is shown.
        fresh: delete what an earlier run wrote in `config.out` and start again.

    Raises:
        AccordError: a setting, the data, a model or a reward is wrong, or settings ask for several ways at once.
    """
    config = checked(config)
    taught = config.teacher is not None and (config.objective != "distill" or config.own_answers > 0)
    asked = {
        "--reward": bool(config.reward),
        "--environment": config.environment is not None and not config.reward,
        "--judge": config.judge is not None,
        "--self-play": config.self_play,
        "--teacher": taught,
    }
    several = [flag for flag, wanted in asked.items() if wanted]
    if len(several) > 1:
        raise ConfigError(f"cannot be combined with {several[0]}", where=several[1], mend="Leave one of them out.")
    rewarded = bool(config.reward) or config.environment is not None
    if config.guide is not None and not config.reward:
        raise ConfigError("has no effect without rewards", where="--guide", mend="Add --reward.")
    if config.rollouts is not None and not rewarded:
        raise ConfigError("has no effect without rewards", where="--rollouts", mend="Add --reward.")
    if config.judge is not None:
        return train_judged(config, console=console, fresh=fresh)
    if rewarded or config.objective in METHODS:
        rewards = parse(config.reward) if config.reward else []
        return train_online(config, rewards, console=console, fresh=fresh)
    if config.self_play:
        return train_self_play(config, console=console, fresh=fresh)
    if taught:
        return train_taught(config, console=console, fresh=fresh)
    return align(config, console=console, fresh=fresh)
