"""Answer the prompts of Groups with a policy."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from accord.policy.policy import Policy
from accord.policy.sample import Progress, Sampled, Sampling, Steer, sample
from accord.policy.sharding import whole_weights
from accord.record import Group, Prompt, Response


def rollout(
    policy: Policy,
    groups: Sequence[Group],
    *,
    n: int,
    sampling: Sampling,
    places: Sequence[int] | None = None,
    progress: Progress | None = None,
    steer: Steer | None = None,
) -> list[Group]:
    """The same prompts with `n` sampled responses each.

    Responses carry their tokens, log-probabilities, whether they ended by themselves, and the policy's version, so
    that they can be trained on without being tokenised again. Identifier, ground truth, origin and meta stay;
    earlier responses and the feedback on them are left out.

    Args:
        policy: what answers, in its own precision. Where it is sharded, every process must call, and holds all of its
            weights until it is done.
        groups: whose prompts to answer.
        n: responses a prompt.
        sampling: how to draw.
        places: a number for each Group, from which with the seed its random numbers follow; by default its index.
        progress: told how many responses are finished, of how many.
        steer: changes the logits of every step, see `accord.policy.sample.sample`.

    Raises:
        DataError: the chat template refuses a prompt; names its row.
        ModelError: a prompt leaves no room for an answer; names its row.
        NumericsError: the model's logits are not finite numbers.
    """
    renderer = policy.renderer
    prompts = [renderer.encode_prompt(group.prompt, origin=group.origin) for group in groups]
    with whole_weights(policy.model), policy.precision():
        answers = sample(
            policy.model,
            prompts,
            n=n,
            sampling=sampling,
            stop_ids=renderer.stop_ids,
            pad_id=renderer.pad_id,
            decode=renderer.decode,
            streams=None if places is None else [(place,) for place in places],
            progress=progress,
            name_of=lambda index: str(groups[index].origin or groups[index].id or f"prompt {index}"),
            steer=steer,
        )

    def response(answer: Sampled, prompt: Prompt) -> Response:
        return Response(
            text=renderer.text_of(answer.tokens, prompt=prompt),
            tokens=answer.tokens,
            logprobs=answer.logprobs,
            finished=answer.finished,
            version=policy.version,
        )

    return [
        msgspec.structs.replace(group, responses=tuple(response(answer, group.prompt) for answer in drawn), feedback=())
        for group, drawn in zip(groups, answers, strict=True)
    ]
