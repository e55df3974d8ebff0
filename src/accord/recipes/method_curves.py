"""The loss of every method and its slope, along what it looks at: a margin, a log-ratio, a reward, a score."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from accord.errors import ConfigError
from accord.objectives import Objective, signature_of
from accord.objectives.policy_gradient import Method
from accord.objectives.vocabulary import read_signature

POINTS = 121
"""Places at which a curve is computed; odd, so that the middle is one."""

TOKENS = 10
"""Tokens of each response in the scenes."""

LIKELY = -4.0
"""Log-probability of each token before anything moves, in the policy and in the reference."""

Scene = Callable[[Tensor], dict[str, Any]]
"""Tensors of the vocabulary when the variable has this value."""


@dataclass(frozen=True)
class Curve:
    """One curve: the variable, the loss, and the loss's slope."""

    label: str
    x: list[float]
    loss: list[float]
    slope: list[float]


@dataclass(frozen=True)
class Picture:
    """What is drawn of a method.

    Attributes:
        variable: what changes from left to right, with its unit.
        caption: what else there is.
        curves: one a case.
    """

    variable: str
    caption: str
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class _Plan:
    variable: str
    caption: str
    low: float
    high: float
    scenes: Mapping[str, Scene]


def picture(name: str, objective: Objective) -> Picture:
    """The curves of an objective, or of the surrogate of a policy-gradient method, at its defaults.

    Raises:
        ConfigError: the objective needs a tensor that no scene has.
    """
    if isinstance(objective, Method):
        plan, loss = _plan_of_tokens(objective), _surrogate(objective)
    else:
        plan, loss = _plan(name, set(signature_of(objective).needs)), _loss(name, objective)
    curves = [_curve(label, scene, loss, plan) for label, scene in plan.scenes.items()]
    if isinstance(objective, Method):
        curves = [replace(curve, loss=[loss - curve.loss[POINTS // 2] for loss in curve.loss]) for curve in curves]
    return Picture(plan.variable, plan.caption, tuple(curves))


def _curve(label: str, scene: Scene, loss: Callable[[dict[str, Any]], Tensor], plan: _Plan) -> Curve:
    points = list(_points(scene, loss, torch.linspace(plan.low, plan.high, POINTS, dtype=torch.float64).tolist()))
    return Curve(label, *(list(column) for column in zip(*points, strict=True)))


def _points(
    scene: Scene, loss: Callable[[dict[str, Any]], Tensor], places: Sequence[float]
) -> Iterator[tuple[float, float, float]]:
    for place in places:
        x = torch.tensor(place, dtype=torch.float64, requires_grad=True)
        value = loss(scene(x))
        (slope,) = torch.autograd.grad(value, x, allow_unused=True)
        yield place, float(value.detach()), 0.0 if slope is None else float(slope)


def _loss(name: str, objective: Objective) -> Callable[[dict[str, Any]], Tensor]:
    needs = signature_of(objective).needs

    def loss(tensors: dict[str, Any]) -> Tensor:
        unknown = [need for need in needs if need not in tensors]
        if unknown:
            mend = "Give the objective a plan of its own in _OWN of accord/recipes/method_curves.py."
            raise ConfigError(f"there is no scene with {', '.join(unknown)}", where=name, mend=mend)
        return objective(*(tensors[need] for need in needs)).value()

    return loss


def _surrogate(method: Method) -> Callable[[dict[str, Any]], Tensor]:
    signature = read_signature(method.surrogate)
    hyper = {parameter.name: method.settings({})[parameter.name] for parameter in signature.hyperparameters}
    return lambda tensors: method.surrogate(*(tensors[need] for need in signature.needs), **hyper).loss.sum()


def _plan_of_tokens(method: Method) -> _Plan:
    bound = method.settings({}).get("clip_high", 1.0)
    reach = 1.5 if bound > 0.01 else 5 * bound
    scenes = {f"advantage {sign:+d}": _token(sign) for sign in (1, -1)}
    caption = "The surrogate of a response of one token over its value at 0; without further parts."
    return _Plan("log-ratio of the policy to the policy that sampled, nats", caption, -reach, reach, scenes)


def _plan(name: str, needs: set[str]) -> _Plan:
    """What a method looks at, from what it needs."""
    if name in _OWN:
        return _OWN[name]
    if "label" in needs:
        scenes = {"desirable": _single(1.0), "undesirable": _single(-1.0)}
        return _Plan(
            "log-ratio of the response to the reference, nats", f"{_EACH}, alone in its step.", -60, 60, scenes
        )
    if "reward" in needs:
        caption = "Two responses; the first is preferred."
        return _Plan("reward of the preferred response over the other's", caption, -6, 6, {"pair": _rewards})
    caption = f"A pair, alone in its step. {_EACH}; both move by half."
    if "reference" in needs:
        return _Plan("log-ratio of the preferred response over the other's, nats", caption, -60, 60, {"pair": _pair})
    return _Plan("log-probability of the preferred response over the other's, nats", caption, -60, 60, {"pair": _pair})


_EACH = f"Responses of {TOKENS} tokens that start at {LIKELY:g} nats each"
_PREFER = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]], dtype=torch.float64)


def _ones(*shape: int) -> Tensor:
    return torch.ones(shape, dtype=torch.float64)


def _responses(*moves: Tensor) -> dict[str, Any]:
    """Responses whose log-probabilities have moved by so many nats, all else as it is at the first step."""
    count = len(moves)
    moved = torch.stack([move.to(torch.float64) for move in moves])
    return {
        "policy": (LIKELY + moved / TOKENS).reshape(1, count, 1).expand(1, count, TOKENS),
        "reference": LIKELY * _ones(1, count, TOKENS),
        "collision": LIKELY * _ones(1, count, TOKENS),
        "mask": _ones(1, count, TOKENS),
        "valid": _ones(1, count),
        "scored": _ones(1, count),
        "cost": 0.0 * _ones(1, count),
        "state": {},
    }


def _pair(x: Tensor) -> dict[str, Any]:
    step = torch.stack([_ones(), x.detach(), 0.0 * _ones()]).reshape(1, 3)
    return _responses(x / 2, -x / 2) | {
        "prefer": _PREFER,
        "label": torch.tensor([[1.0, -1.0]], dtype=torch.float64),
        "score": torch.tensor([[0.8, 0.2]], dtype=torch.float64),
        "own_sample": torch.tensor([[1.0, 0.0]], dtype=torch.float64),
        "annotator": torch.stack([_ones(2, 2), 0.0 * _ones(2, 2)]).unsqueeze(0),
        "step_pairs": step,
    }


def _single(sign: float) -> Scene:
    def scene(x: Tensor) -> dict[str, Any]:
        ours = torch.stack([sign * _ones(), x.detach()])
        others = torch.tensor([-sign, 0.0], dtype=torch.float64)
        return _responses(x) | {
            "label": sign * _ones(1, 1),
            "mismatched_kl": 0.0 * _ones(),
            "step_ratios": torch.stack([ours, others]),
        }

    return scene


def _listed(x: Tensor) -> dict[str, Any]:
    return _responses(x / 2, 0.0 * x, -x / 2) | {
        "prefer": torch.triu(_ones(3, 3), diagonal=1).unsqueeze(0),
        "distribution": torch.tensor([[0.6, 0.3, 0.1]], dtype=torch.float64),
    }


def _likelihood(x: Tensor) -> dict[str, Any]:
    return {"policy": x.reshape(1, 1, 1), "mask": _ones(1, 1, 1)}


def _scored(place: int) -> Scene:
    """Two responses of one token, the better one first; the one at `place` moves, the other stays at -2."""

    def scene(x: Tensor) -> dict[str, Any]:
        stays = -2.0 * _ones()
        rows = torch.stack([x, stays] if place == 0 else [stays, x]).reshape(1, 2, 1)
        score = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
        return {"policy": rows, "mask": _ones(1, 2, 1), "score": score, "scored": _ones(1, 2)}

    return scene


def _taught(x: Tensor) -> dict[str, Any]:
    policy = torch.log_softmax(torch.stack([x, 0.0 * x]), 0).unsqueeze(0)
    source = torch.tensor([[0.8, 0.2]], dtype=torch.float64).log()

    def teacher(measure: Callable[[Tensor, Tensor], Tensor], *, temperature: float) -> Tensor:
        return measure(policy, source).reshape(1, 1, 1)

    return {"teacher": teacher, "mask": _ones(1, 1, 1)}


def _rewards(x: Tensor) -> dict[str, Any]:
    return {
        "reward": torch.stack([x / 2, -x / 2]).unsqueeze(0),
        "prefer": _PREFER,
        "label": torch.tensor([[1.0, -1.0]], dtype=torch.float64),
    }


def _named_rewards(x: Tensor) -> dict[str, Any]:
    return {"named_rewards": torch.stack([x / 2, -x / 2]).reshape(1, 2, 1), "named_prefer": _PREFER.unsqueeze(1)}


def _rated(x: Tensor) -> dict[str, Any]:
    return {"named_rewards": x.reshape(1, 1, 1), "ratings": _ones(1, 1, 1), "rated": _ones(1, 1, 1)}


def _step(label: float) -> Scene:
    one = _ones(1, 1, 1)
    return lambda x: {"step_reward": x.reshape(1, 1, 1), "step_score": label * one, "step_end": one}


def _permitted(place: int) -> Scene:
    """A demonstrated and a sampled response; the log-odds of the one at `place` move, the other's are 0."""
    label = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    return lambda x: {"reward": torch.stack([x, 0.0 * x] if place == 0 else [0.0 * x, x]).unsqueeze(0), "label": label}


def _token(advantage: float) -> Scene:
    return lambda x: {
        "policy": x.reshape(1, 1, 1),
        "behaviour": 0.0 * _ones(1, 1, 1),
        "advantage": advantage * _ones(1, 1, 1),
        "mask": _ones(1, 1, 1),
    }


def _valued(of: str) -> Scene:
    """The last token of a response with a score of 1; `of` moves, everything else is 0 and the target heads' Q 0.5."""

    def scene(x: Tensor) -> dict[str, Any]:
        moves = x.reshape(1, 1, 1)
        still = 0.0 * _ones(1, 1, 1)
        names = ("policy", "value", "first_q", "second_q", "first_q_logprob", "second_q_logprob")
        given = {name: moves if of in name and "logprob" not in name else still for name in names}
        rest = {"next_value": 0.0 * _ones(1, 1), "target_q": still + 0.5}
        return given | rest | {"mask": still + 1, "score": _ones(1, 1), "scored": _ones(1, 1)}

    return scene


_LIST = _Plan(
    "log-ratio of the first response over the last's, nats",
    f"A ranking of three; the first and the last move by half, the middle one stays. {_EACH}.",
    -60,
    60,
    {"list": _listed},
)
_SCORED = _Plan(
    "log-probability of the response, nats",
    "Two responses of one token to a prompt, with the scores 1 and 0; one moves, the other stays at −2.",
    -6,
    0,
    {"score 1": _scored(0), "score 0": _scored(1)},
)
_OWN: Mapping[str, _Plan] = {
    "sft": _Plan("log-probability of a token, nats", "One token.", -6, 0, {"token": _likelihood}),
    "rwr": _SCORED,
    "awr": _SCORED,
    "distill": _Plan(
        "log-odds of the first of two tokens",
        f"The teacher's log-odds are {math.log(4):.2f}.",
        -6,
        6,
        {"token": _taught},
    ),
    "plackett_luce": _LIST,
    "soft_listwise": _LIST,
    "lipo": _LIST,
    "multi_bradley_terry": _Plan(
        "value of the preferred response over the other's", "Two responses, one value.", -6, 6, {"pair": _named_rewards}
    ),
    "reward_regression": _Plan("value of the response", "Its rating is 1.", -2, 4, {"response": _rated}),
    "process_reward": _Plan(
        "log-odds that the step is good", "One step.", -6, 6, {"good step": _step(1.0), "bad step": _step(0.0)}
    ),
    "inverse_constraint": _Plan(
        "log-odds that the response is permissible",
        "One response of each kind; the other's log-odds are 0.",
        -6,
        6,
        {"demonstrated": _permitted(0), "sampled": _permitted(1)},
    ),
    "ilql": _Plan(
        "Q of the token, or value of the text before it",
        "The last token of a response with a score of 1; the target heads' Q is 0.5, all else 0.",
        -2,
        4,
        {"Q": _valued("_q"), "value": _valued("value")},
    ),
    "cost_model": _Plan(
        "output of the safe response over the unsafe one's",
        "Two responses, the first of them safe.",
        -6,
        6,
        {"pair": _rewards},
    ),
}
"""Scenes of methods that look at something of their own."""
