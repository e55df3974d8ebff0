"""The record: a prompt, its responses, and the feedback on them.

One `Group` follows a row from the file to the report. It is plain data (msgspec structs, no torch), written as one
JSON object a line. The number of responses is not the kind of feedback: labels occur with eight responses, pairs occur
among four, and a demonstration is a Group of one response without feedback.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec


class Message(msgspec.Struct, frozen=True):
    """One turn of a conversation."""

    role: str
    content: str


Prompt = str | tuple[Message, ...]
"""What the policy answers: plain text, or the turns of a conversation so far."""


class Response(msgspec.Struct, frozen=True, omit_defaults=True):
    """One answer to a prompt.

    Attributes:
        text: the answer: the content of its (last) assistant turn, without end-of-turn markers.
        context: turns between the prompt and `text` when the answer spans several turns. Its assistant turns
            are trained like `text`; all other turns are context.
        tokens: the sampled token ids, end-of-sequence included where it was sampled. Present only on responses that
            a policy sampled; they are never tokenised again.
        logprobs: log-probability of each of `tokens` under the policy that sampled it, at the sampling temperature;
            0.0 for tokens it did not sample.
        trained: which of `tokens` are trained; `None` for all. An answer that took turns with an environment holds the
            environment's turns as tokens that are not.
        finished: whether sampling ended by itself; `False` when it hit the length limit. A recorded answer that
            was not sampled counts as finished.
        version: the version (weights fingerprint or step) of the policy that sampled it.
        steps: where its steps end, as character offsets in `text`, increasing; a step includes the line break that
            ends it. What follows the last is no step.
        meta: anything else worth keeping (model name, annotator notes).
    """

    text: str
    context: tuple[Message, ...] = ()
    tokens: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    trained: tuple[bool, ...] | None = None
    finished: bool = True
    version: str | None = None
    steps: tuple[int, ...] = ()
    meta: dict[str, Any] = {}


class Preference(msgspec.Struct, frozen=True, omit_defaults=True):
    """Response `better` is preferred to response `worse` (indices into the Group's responses).

    A tie or a doubtful label is two preferences whose weights sum to 1, e.g. 0.8 one way and 0.2 the other.
    """

    better: int
    worse: int
    weight: float = 1.0


SourceKind = Literal["human", "judge", "verifier", "reward_model", "oracle", "dataset"]


class Feedback(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one source says about a Group's responses; every field but `source` is optional.

    Attributes:
        source: who says it.
        name: which one (an annotator, a judge model, the data set).
        preferences: comparisons between responses.
        labels: for each response: desirable (`True`), undesirable (`False`) or not labelled (`None`).
        scores: named values, each with one number (or `None` for missing) a response. `"overall"` is the
            one that is used when a single score is asked for.
        distribution: a probability for each response (soft listwise feedback).
        step_scores: for each response a number for each of its `steps`, in order (`None`: not judged). A label is 1
            (good) or 0 (bad), a doubtful one is in between; a process reward is any number.
        meta: anything else (rationale, agreement, principle).
    """

    source: SourceKind
    name: str | None = None
    preferences: tuple[Preference, ...] = ()
    labels: tuple[bool | None, ...] | None = None
    scores: dict[str, tuple[float | None, ...]] = {}
    distribution: tuple[float, ...] | None = None
    step_scores: tuple[tuple[float | None, ...], ...] | None = None
    meta: dict[str, Any] = {}


class Origin(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a Group was read from, so that every complaint can name it."""

    path: str
    line: int | None = None

    def __str__(self) -> str:
        return self.path if self.line is None else f"{self.path}:{self.line}"


class Group(msgspec.Struct, frozen=True, omit_defaults=True):
    """A prompt with its responses and the feedback on them.

    Attributes:
        prompt: text, or the messages so far (the last one is not from the assistant).
        responses: zero (a bare prompt to sample from) or more answers.
        feedback: what each source says.
        id: the data set's own identifier, when it has one.
        answer: the ground truth a verifier compares with, when there is one.
        origin: file and line it was read from.
        meta: anything else (category, language, annotator group).
    """

    prompt: Prompt
    responses: tuple[Response, ...] = ()
    feedback: tuple[Feedback, ...] = ()
    id: str | None = None
    answer: Any = None
    origin: Origin | None = None
    meta: dict[str, Any] = {}

    def preferences(self) -> Iterator[Preference]:
        """All preferences of all sources."""
        for feedback in self.feedback:
            yield from feedback.preferences

    def labels(self) -> tuple[float, ...]:
        """One signed number a response: the sum over sources of +1 (desirable) and -1 (undesirable), 0 if none."""
        totals = [0.0] * len(self.responses)
        for feedback in self.feedback:
            for index, label in enumerate(feedback.labels or ()):
                if label is not None:
                    totals[index] += 1.0 if label else -1.0
        return tuple(totals)

    def scores(self, name: str = "overall") -> tuple[float | None, ...] | None:
        """The named score of each response (mean over the sources that give it), or `None` if no source does."""
        given = [feedback.scores[name] for feedback in self.feedback if name in feedback.scores]
        if not given:
            return None
        return tuple(_mean_of_given([row[index] for row in given]) for index in range(len(self.responses)))

    def distribution(self) -> tuple[float, ...] | None:
        """The probability of each response (mean over the sources that give one), or `None` if no source does."""
        given = [feedback.distribution for feedback in self.feedback if feedback.distribution is not None]
        return tuple(sum(column) / len(given) for column in zip(*given, strict=True)) if given else None

    def step_scores(self) -> tuple[tuple[float | None, ...], ...] | None:
        """A number for each step of each response (mean over the sources that give it), or `None` if no source does."""
        given = [feedback.step_scores for feedback in self.feedback if feedback.step_scores is not None]
        if not given:
            return None
        return tuple(
            tuple(map(_mean_of_given, zip(*(rows[index] for rows in given if rows[index]), strict=True)))
            for index in range(len(self.responses))
        )

    def messages(self) -> tuple[Message, ...]:
        """The prompt as messages; plain text becomes one user turn."""
        return (Message("user", self.prompt),) if isinstance(self.prompt, str) else self.prompt

    def prompt_text(self) -> str:
        """The prompt as one readable string, for messages to people, never for tokenising."""
        if isinstance(self.prompt, str):
            return self.prompt
        return "\n".join(f"{message.role}: {message.content}" for message in self.prompt)


def _mean_of_given(values: Sequence[float | None]) -> float | None:
    given = [value for value in values if value is not None]
    return sum(given) / len(given) if given else None
