"""`accord soup`: one model from several that were fine-tuned from one start."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from accord.cli.parameters import Switch
from accord.cli.terminal import console
from accord.errors import ConfigError


def soup(
    *model: str,
    out: str,
    weights: Annotated[tuple[float, ...], Parameter(consume_multiple=True, negative=())] = (),
    trust_remote_code: Switch = False,
) -> int:
    """Average the weights of models that were fine-tuned from one model.

    Args:
        model: directories or hub ids, two or more.
        out: directory of the result, which plain transformers loads.
        weights: a factor for each model; default equal shares.
        trust_remote_code: run code that comes with the models. Off unless you trust their authors.
    """
    from accord.policy.load import load_policy
    from accord.policy.soup import cook

    if len(model) < 2:
        raise ConfigError("a soup takes two models or more", where="accord soup", mend="Name them: accord soup A B.")
    if weights and len(weights) != len(model):
        what = f"{len(weights)} weights for {len(model)} models"
        raise ConfigError(what, where="--weights", mend="Give one for each model.")
    policies = [load_policy(one, device="cpu", trust_remote_code=trust_remote_code) for one in model]
    shares = weights or (1.0 / len(model),) * len(model)
    cook(policies, shares).save(out)
    console().print(f"model: {out}", soft_wrap=True)
    return 0
