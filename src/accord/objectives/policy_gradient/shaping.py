"""What changes the score before credit is given: limits, and prices for how a response ends and how long it is."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from accord.objectives.hyperparameters import NonNegative, Positive
from accord.objectives.policy_gradient.credit import Shaped, mean_of
from accord.objectives.primitives import seq_sum

Truncated = Literal["train", "skip"]


def clipped_score(score: Tensor, valid: Tensor, *, score_clip: NonNegative = 0.0) -> Shaped:
    """Keep scores within a bound, so that one wild score does not decide a round.

    Args:
        score: `[B,n]` score of each response.
        valid: `[B,n]` 1 where the response exists.
        score_clip: largest size of a score, at least 0; 0 sets no limit.
    """
    beyond = (score.abs() > score_clip).to(score.dtype)
    return Shaped({"score": score.clamp(-score_clip, score_clip)}, metrics={"score_clipped": mean_of(beyond, valid)})


def missing_end(score: Tensor, finished: Tensor, *, missing_eos: NonNegative = 0.0) -> Shaped:
    """Take a price off the score of a response that did not end by itself.

    Args:
        score: `[B,n]` score of each response.
        finished: `[B,n]` 1 where it ended by itself.
        missing_eos: price of not ending, at least 0; 0 asks none. Tulu 3 takes 10 where a right answer gives 10.
    """
    return Shaped({"score": score - missing_eos * (finished == 0)})


def length_price(
    score: Tensor, mask: Tensor, *, length_penalty: NonNegative = 0.0, free_tokens: NonNegative = 0.0
) -> Shaped:
    r"""Take a price off the score for each token above a length: :math:`R - \alpha\max(0, |y| - L)`.

    Args:
        score: `[B,n]` score of each response.
        mask: `[B,n,T]` 1 on trained tokens.
        length_penalty: price of a token (alpha), at least 0; 0 asks none.
        free_tokens: tokens that cost nothing (L), at least 0.
    """
    return Shaped({"score": score - length_penalty * (seq_sum(mask, mask) - free_tokens).clamp_min(0.0)})


def soft_overlong(
    score: Tensor, mask: Tensor, *, overlong_limit: NonNegative = 0.0, overlong_cache: Positive = 4096.0
) -> Shaped:
    r"""Take up to 1 off the score as the length comes near the limit, in equal steps over the last `cache` tokens.

    .. math:: R - \operatorname{clip}\left(\frac{|y| - (L - C)}{C}, 0, 1\right)

    Args:
        score: `[B,n]` score of each response.
        mask: `[B,n,T]` 1 on trained tokens.
        overlong_limit: length from which the whole price is due (L), in tokens, at least 0; 0 asks none.
        overlong_cache: tokens over which the price rises (C), above 0.

    Source: Yu et al. 2025, "DAPO" (arXiv:2503.14476), eq. 13.
    """
    return Shaped({"score": score - overlong_price(seq_sum(mask, mask), overlong_limit, overlong_cache)})


def overlong_price(length: Tensor, limit: float, cache: float) -> Tensor:
    """What a response of that many tokens pays, from 0 to 1.

    >>> import torch
    >>> overlong_price(torch.tensor([70.0, 80.0, 90.0, 100.0, 101.0]), 100, 20)
    tensor([0.0000, 0.0000, 0.5000, 1.0000, 1.0000])
    """
    return ((length - (limit - cache)) / cache).clamp(0.0, 1.0)


def step_rewards(
    token_reward: Tensor,
    scored: Tensor,
    step_score: Tensor,
    step_end: Tensor,
    *,
    step_weight: NonNegative = 0.0,
) -> Shaped:
    """Pay each step's score on the token that ends it; a response with a scored step has a reward.

    Args:
        token_reward: `[B,n,T]` reward paid on tokens so far.
        scored: `[B,n]` 1 where the response as a whole has a score.
        step_score: `[B,n,T]` score of the step that ends at this token.
        step_end: `[B,n,T]` 1 where a step with a score ends.
        step_weight: what a step's score is worth beside the score of the response, at least 0; 0 pays none.

    Source: Lightman et al. 2023, "Let's verify step by step" (arXiv:2305.20050); Uesato et al. 2022
    (arXiv:2211.14275).
    """
    paid = (step_weight * step_score).masked_fill(step_end == 0, 0.0)
    return Shaped({"token_reward": token_reward + paid, "scored": scored.maximum(step_end.amax(-1))})


def trained_tokens(mask: Tensor, finished: Tensor, *, truncated: Truncated = "train") -> Shaped:
    """The mask of the loss, without the responses that hit the length limit, if asked.

    Args:
        mask: `[B,n,T]` 1 on trained tokens.
        finished: `[B,n]` 1 where the response ended by itself.
        truncated: whether the loss includes responses that hit the length limit: `train` or `skip`.

    Source: Yu et al. 2025, "DAPO" (arXiv:2503.14476), section 3.4.
    """
    return Shaped({"mask": mask * finished.unsqueeze(-1) if truncated == "skip" else mask})
