"""Lengths: their distribution, what does not fit, and whether the longer response wins."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from accord.data.checks import Fault, fault
from accord.data.report import LengthBias, Overlong, Spread, spread_of
from accord.record import Encoded, EncodedResponse, Group, Response


def spreads(groups: Sequence[Group], encoded: Sequence[Encoded | None]) -> dict[str, Spread]:
    """Distributions of prompt, response and total length in characters, words and, where encoded, tokens."""
    prompts = [group.prompt_text() for group in groups]
    responses = [response.text for group in groups for response in group.responses]
    values = {
        "prompt characters": [len(text) for text in prompts],
        "prompt words": [len(text.split()) for text in prompts],
        "response characters": [len(text) for text in responses],
        "response words": [len(text.split()) for text in responses],
        "prompt tokens": [len(ids.prompt) for ids in encoded if ids],
        "response tokens": [len(one.tokens) for ids in encoded if ids for one in ids.responses],
        "total tokens": [len(ids.prompt) + len(one.tokens) for ids in encoded if ids for one in ids.responses],
    }
    return {name: spread_of(lengths) for name, lengths in values.items() if lengths}


def length_bias(groups: Sequence[Group], encoded: Sequence[Encoded | None]) -> LengthBias | None:
    """How often the longer of two responses is the preferred one; `None` without pairs of different length.

    Counts tokens where all Groups are encoded, else characters. A preference of weight 0.5 or less does not count.
    """
    in_tokens = all(ids is not None for ids in encoded)
    longer = pairs = 0
    for group, ids in zip(groups, encoded, strict=True):
        if in_tokens and ids is not None:
            lengths = [len(response.tokens) for response in ids.responses]
        else:
            lengths = [len(response.text) for response in group.responses]
        for preference in group.preferences():
            difference = lengths[preference.better] - lengths[preference.worse]
            if difference and preference.weight > 0.5:
                pairs += 1
                longer += difference > 0
    if not pairs:
        return None
    from scipy.stats import binomtest

    interval = binomtest(longer, pairs).proportion_ci(method="wilson")
    unit = "tokens" if in_tokens else "characters"
    return LengthBias(pairs, longer / pairs, float(interval.low), float(interval.high), unit)


def fit(
    index: int, group: Group, ids: Encoded, *, max_length: int | None, overlong: Overlong
) -> tuple[Group, Encoded, list[Fault]]:
    """Cut, or mark for removal, the responses that do not fit behind their prompt.

    A cut response ends without its end-of-sequence token. Where the prompt leaves no room for a trained token, the
    response is removed, whatever `overlong` says.
    """
    found: dict[str, list[tuple[int, str]]] = {}
    responses, kept = list(group.responses), list(ids.responses)
    for place, response in enumerate(ids.responses):
        total = len(ids.prompt) + len(response.tokens)
        if max_length is not None and total > max_length:
            room = max(0, max_length - len(ids.prompt))
            if overlong == "drop" or not any(response.trained[:room]):
                leaves = "" if overlong == "drop" else ", and the prompt leaves it no room"
                message = f"with its prompt has {total} tokens, over {max_length}{leaves}"
                found.setdefault("overlong", []).append((place, message))
                continue
            kept[place] = response.first(room)
            responses[place] = _cut(responses[place], kept[place])
            found.setdefault("cut response", []).append((place, f"is cut from {len(response.tokens)} to {room} tokens"))
        elif not any(response.trained):
            found.setdefault("nothing trained", []).append((place, "has no token to train on"))
    faults = [_misfit(index, group, kind, places) for kind, places in found.items()]
    if "cut response" not in found:
        return group, ids, faults
    return replace(group, responses=tuple(responses)), Encoded(ids.prompt, tuple(kept)), faults


def _cut(response: Response, cut: EncodedResponse) -> Response:
    """A response whose sampled tokens, and what is said of them, end where its encoding is cut."""
    length = len(cut.tokens)
    return replace(
        response,
        tokens=None if response.tokens is None else cut.tokens,
        logprobs=None if response.logprobs is None else response.logprobs[:length],
        trained=None if response.trained is None else response.trained[:length],
        finished=False,
    )


def _misfit(index: int, group: Group, kind: str, places: Sequence[tuple[int, str]]) -> Fault:
    """One fault for all responses of a Group that do not fit alike, described by the first."""
    place, message = places[0]
    return fault(
        index,
        group,
        kind,
        "info" if kind == "cut response" else "warning",
        f"response {place + 1} {message}",
        effect="keep" if kind == "cut response" else "remove response",
        responses=tuple(place for place, _ in places),
    )
