"""The tensors an objective may name, and how its signature is read.

What an objective names is what it needs: positional parameters are tensors of `VOCABULARY`, keyword-only parameters are
hyperparameters. The loop builds exactly the named tensors; an objective that does not name `reference` never loads
a reference model, and one that names `step_pairs` pays for a second forward pass.

Shapes: `B` groups, `n` responses a group (groups with fewer are padded, with zero mask), `T` response tokens (padded).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, get_type_hints

from accord.objectives.hyperparameters import Range
from accord.objectives.terms import Terms

VOCABULARY: Mapping[str, str] = MappingProxyType(
    {
        "policy": "[B,n,T] log-probability of each response token under the policy, with gradient; 0 where mask is 0",
        "reference": "[B,n,T] the same under the reference, without gradient: the starting weights, unless it is set "
        "to follow the policy",
        "mask": "[B,n,T] 1.0 on trained response tokens (end-of-sequence included), 0.0 on context and padding",
        "prefer": "[B,n,n] weight that response i is preferred to response j; the diagonal is 0",
        "label": "[B,n] signed weight: positive desirable, negative undesirable, 0 not labelled",
        "score": "[B,n] given scalar score of each response; 0 where `scored` is 0",
        "scored": "[B,n] 1.0 where `score` was given",
        "distribution": "[B,n] given probability of each response, summing to 1 over the group; all 0 where not given",
        "reward": "[B,n] scalar output of the reward head on each response, with gradient",
        "named_rewards": "[B,n,K] outputs of a reward head of K named values on each response, with gradient",
        "ratings": "[B,n,K] given score of each response on each of these values; 0 where `rated` is 0",
        "rated": "[B,n,K] 1.0 where `ratings` was given",
        "named_prefer": "[B,K,n,n] weight that response i is preferred to response j on each of these values",
        "step_reward": "[B,n,T] log-odds that the step which ends at this token is good, with gradient; 0 elsewhere",
        "valid": "[B,n] 1.0 where the group has this response and it has at least one trained token",
        "mismatched_kl": "[] detached mean over the whole optimiser step of the summed log-ratio policy/reference "
        "on mismatched (prompt, response) rows",
        "step_pairs": "[P,3] detached, every preferred pair of the optimiser step: its weight, and the difference "
        "in summed log-probability under policy and under reference; a row of zeros if there is none",
        "step_ratios": "[R,2] detached, every labelled response of the optimiser step: its label and its summed "
        "log-ratio policy/reference; a row of zeros if there is none",
        "annotator": "[B,G+1,n,n] share of each preference that annotator group g gave; the last stands for all groups "
        "that are not trained on",
        "state": "[] by name: what the objective returned as `Terms.state` in the step before, empty at first",
        "behaviour": "[B,n,T] log-probability of each response token under the policy that sampled it, at the sampling "
        "temperature, without gradient",
        "entropy": "[B,n,T] entropy in nats of the policy's distribution at each response token, with gradient",
        "collision": "[B,n,T] log of the sum of squared probabilities of the policy's distribution at each response "
        "token, that two draws from it agree; without gradient",
        "advantage": "[B,n,T] how much better each token did than expected, from the credit of the round",
        "value": "[B,n,T] the estimate of the return before each token, by the critic or by the V head beside Q heads, "
        "with gradient",
        "old_value": "[B,n,T] the same before the updates of the round, without gradient",
        "returns": "[B,n,T] the value's target, from the credit of the round",
        "next_value": "[B,n] value of the state after the response, where the episode goes on there, without gradient; "
        "0 where it ends",
        "first_q": "[B,n,T] what each response token is worth by the first of two Q heads, with gradient",
        "second_q": "[B,n,T] the same by the second",
        "target_q": "[B,n,T] the lesser of what each token is worth by the two heads' targets, without gradient",
        "first_q_logprob": "[B,n,T] log-softmax of the first Q head over the vocabulary at each response token, with "
        "gradient",
        "second_q_logprob": "[B,n,T] the same of the second",
        "cost": "[B,n] the score named `cost` of each response; 0 where none is given",
        "cost_value": "[B,n,T] the critic's estimate of the cost to come, with gradient",
        "old_cost_value": "[B,n,T] the same before the updates of the round, without gradient",
        "cost_returns": "[B,n,T] the cost value's target, from the credit of the round",
        "cost_advantage": "[B,n,T] how much more each token cost than expected, from the credit of the round",
        "baseline": "[B,n] the score named `baseline`: that of the greedy response, the same for a whole group",
        "teacher": "a function of a measure of two log-softmax tensors `[N,V]`, the policy's and the teacher's: "
        "its value at each response token, [B,n,T], with gradient to the policy",
        "own_sample": "[B,n] 1.0 where the trained policy sampled the response, 0.0 where another sampler did: the "
        "reference, or a mixture with it",
        "finished": "[B,n] 1.0 where the response ended by itself, 0.0 where it hit the length limit",
        "step_score": "[B,n,T] score of the step that ends at this token; 0 elsewhere",
        "step_end": "[B,n,T] 1.0 where a step with a score ends",
        "named_scores": "[B,n,K] several scores of each response by name; 0 where not given",
        "named_weight": "[B,n,K] what each of them is worth in the sum; 0 where not given",
        "divergence": "[B,n,T] divergence in nats of the sampling policy's distribution from the reference's at each "
        "response token, over the whole vocabulary, without gradient",
        "pretrain": "[B,m,S] log-probability of each token of texts to keep likely, with gradient",
        "pretrain_mask": "[B,m,S] 1.0 on their tokens",
    }
)
"""Every name an objective may take positionally, with its shape and meaning."""


Objective = Callable[..., Terms]


@dataclass(frozen=True)
class Hyperparameter:
    """A keyword-only parameter of an objective, as the command line shows it; `allowed` bounds a number."""

    name: str
    type: Any
    default: Any
    help: str
    allowed: Range | None = None


@dataclass(frozen=True)
class Signature:
    """What an objective needs and what can be set."""

    needs: tuple[str, ...]
    hyperparameters: tuple[Hyperparameter, ...]


def signature_of(objective: Objective) -> Signature:
    """An objective's needs and hyperparameters: its own `signature` if it has one, else read from the function.

    Raises:
        TypeError: as for `read_signature`.
    """
    own = getattr(objective, "signature", None)
    return own if isinstance(own, Signature) else read_signature(objective)


def read_signature(function: Callable[..., Any], names: Container[str] = VOCABULARY) -> Signature:
    """Read what a function of tensors needs and what can be set, from its signature and docstring.

    Args:
        function: positional parameters are tensors, keyword-only parameters hyperparameters.
        names: what a positional parameter may be called.

    Raises:
        TypeError: a positional parameter is not in `names`, a hyperparameter has no default or no annotation, or
            the function takes `*args` or `**kwargs`.
    """
    hints, ranges = get_type_hints(function), get_type_hints(function, include_extras=True)
    helps = _argument_help(inspect.getdoc(function) or "")
    needs: list[str] = []
    hyperparameters: list[Hyperparameter] = []
    label = getattr(function, "__name__", repr(function))
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            if parameter.default is inspect.Parameter.empty or name not in hints:
                raise TypeError(f"{label}: hyperparameter {name!r} needs a default and a type annotation")
            allowed = _range(ranges[name])
            hyperparameters.append(Hyperparameter(name, hints[name], parameter.default, helps.get(name, ""), allowed))
        elif parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
            if name not in names:
                raise TypeError(f"{label}: {name!r} is not a tensor of the vocabulary ({', '.join(VOCABULARY)})")
            needs.append(name)
        else:
            raise TypeError(f"{label}: objectives take no *args or **kwargs")
    return Signature(tuple(needs), tuple(hyperparameters))


def _range(annotation: Any) -> Range | None:
    """The range written beside a type."""
    return next((extra for extra in getattr(annotation, "__metadata__", ()) if isinstance(extra, Range)), None)


def _argument_help(docstring: str) -> dict[str, str]:
    """The descriptions below `Args:` of a Google-style docstring, by parameter."""
    helps: dict[str, str] = {}
    current: str | None = None
    inside = False
    for line in docstring.splitlines():
        if line.strip() == "Args:":
            inside = True
        elif inside and line.strip() and not line.startswith(" "):
            break
        elif inside and line.strip():
            indent = len(line) - len(line.lstrip())
            name, colon, rest = line.strip().partition(":")
            if indent <= 4 and colon and name.isidentifier():
                current = name
                helps[current] = rest.strip()
            elif current is not None:
                helps[current] += " " + line.strip()
    return helps
