"""How critics and revisers are asked, and how they are read: prompts in files, which the user can replace."""

from __future__ import annotations

import hashlib
import re
import tomllib
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from accord.chat.types import Reply
from accord.errors import ConfigError
from accord.feedback.constitution.constitution import Example
from accord.feedback.judge.principles import Principle
from accord.feedback.judge.templates import fill, read_choice, transcript
from accord.record import Message

SHIPPED = Path(__file__).parent / "forms"

Conversation = tuple[Message, ...]

_SLOT = re.compile(r"\{(\w+)\}")


class Form(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", forbid_unknown_fields=True):
    """What a critic and a reviser are asked.

    Attributes:
        critique_request, revision_request: what takes {request} for a principle without words of its own, with the
            slot {principle}.
        critique: the prompt of a critic, with {request}.
        revision: the prompt of a reviser, with {request}, and {critique} where the critique is not a turn already.
        verdict: the prompt for a critic's score, with {principle}.
        choices: what the verdict begins with where the answer keeps the principle, and where it breaks it.
        opening, closing: what the revised answer stands between; to the end without a closing.
        system: a line before it.
    """

    required: ClassVar[dict[str, set[str]]] = {}
    allowed: ClassVar[set[str]] = set()

    critique_request: str
    revision_request: str
    critique: str
    revision: str
    verdict: str
    choices: tuple[str, str]
    opening: str
    closing: str = ""
    system: str = ""

    def __post_init__(self) -> None:
        if not self.opening.strip():
            raise ConfigError("opening is empty: a revision cannot be told from the words around it")
        for name, required in self.required.items():
            slots = set(_SLOT.findall(getattr(self, name)))
            for slot in sorted(required - slots):
                raise ConfigError(f"{name} has no slot {{{slot}}}")
            for slot in sorted(slots - required - self.allowed):
                raise ConfigError(f"{name} has the unknown slot {{{slot}}}")

    @property
    def fingerprint(self) -> str:
        """What tells it from every other form."""
        return hashlib.blake2b(msgspec.json.encode(self), digest_size=8).hexdigest()

    def score(self, reply: Reply) -> float | None:
        """Probability that the answer keeps the principle; `None` if the verdict cannot be read."""
        if reply.probabilities is not None:
            return reply.probabilities[0]
        return read_choice(reply.text, {self.choices[0]: 1.0, self.choices[1]: 0.0})

    def revised(self, reply: Reply) -> str | None:
        """The revised answer and nothing else; `None` where what was written does not say which part that is.

        The opening must occur once, the closing once and after it, there must be something between them, and the
        model must have come to an end by itself. What stands around them is left out.
        """
        said = reply.text
        if not reply.finished or said.count(self.opening) != 1:
            return None
        _, _, rest = said.partition(self.opening)
        if self.closing:
            if said.count(self.closing) != 1 or self.closing not in rest:
                return None
            rest = rest.partition(self.closing)[0]
        return rest.strip() or None

    def written(self, revision: str) -> str:
        """A revision as a model that keeps to the form writes it."""
        return f"{self.opening} {revision}" if not self.closing else f"{self.opening}\n{revision}\n{self.closing}"

    def _request(self, principle: Principle, stage: str) -> str:
        own = principle.critique if stage == "critique" else principle.revision
        default = self.critique_request if stage == "critique" else self.revision_request
        return own or fill(default, {"principle": principle.text})


class DocumentForm(Form, frozen=True, kw_only=True, tag="document"):
    """The conversation and the answer are put into the prompt: {conversation} or {question}, and {response}."""

    required: ClassVar[dict[str, set[str]]] = {
        "critique": {"response", "request"},
        "revision": {"response", "request", "critique"},
        "verdict": {"response", "principle"},
    }
    allowed: ClassVar[set[str]] = {"conversation", "question"}

    def ask_critique(self, conversation: Conversation, answer: str, principle: Principle) -> Conversation:
        """The request to a critic."""
        request = self._request(principle, "critique")
        return self._filled(self.critique, conversation, {"response": answer, "request": request})

    def ask_revision(
        self, conversation: Conversation, answer: str, principle: Principle, critique: str
    ) -> Conversation:
        """The request to a reviser."""
        values = {"response": answer, "request": self._request(principle, "revision"), "critique": critique}
        return self._filled(self.revision, conversation, values)

    def ask_verdict(self, conversation: Conversation, answer: str, principle: Principle) -> Conversation:
        """The request for a critic's verdict."""
        return self._filled(self.verdict, conversation, {"response": answer, "principle": principle.text})

    def _filled(self, prompt: str, conversation: Conversation, values: dict[str, str]) -> Conversation:
        asked = {"conversation": transcript(conversation), "question": conversation[-1].content, **values}
        opening = (Message("system", self.system),) if self.system else ()
        return (*opening, Message("user", fill(prompt, asked)))


class TurnsForm(Form, frozen=True, kw_only=True, tag="turns"):
    """Critique and revision are further turns of the conversation."""

    required: ClassVar[dict[str, set[str]]] = {
        "critique": {"request"},
        "revision": {"request"},
        "verdict": {"principle"},
    }

    def ask_critique(self, conversation: Conversation, answer: str, principle: Principle) -> Conversation:
        """The request to a critic."""
        request = fill(self.critique, {"request": self._request(principle, "critique")})
        return (*self._answered(conversation, answer), Message("user", request))

    def ask_revision(
        self, conversation: Conversation, answer: str, principle: Principle, critique: str
    ) -> Conversation:
        """The request to a reviser."""
        request = fill(self.revision, {"request": self._request(principle, "revision")})
        criticised = (*self.ask_critique(conversation, answer, principle), Message("assistant", critique))
        return (*criticised, Message("user", request))

    def ask_verdict(self, conversation: Conversation, answer: str, principle: Principle) -> Conversation:
        """The request for a critic's verdict."""
        request = fill(self.verdict, {"principle": principle.text})
        return (*self._answered(conversation, answer), Message("user", request))

    def _answered(self, conversation: Conversation, answer: str) -> Conversation:
        opening = (Message("system", self.system),) if self.system else ()
        return (*opening, *conversation, Message("assistant", answer))


AnyForm = DocumentForm | TurnsForm


def with_examples(
    asked: Conversation, form: AnyForm, examples: tuple[Example, ...], principle: Principle, *, revised: bool
) -> Conversation:
    """A request with examples as earlier turns, so that a model sees what it is to imitate; system lines stay first.

    Args:
        asked: the request.
        form: in which the examples are put.
        examples: what to show.
        principle: what the examples are asked about, which is what the request is about.
        revised: whether a revision is asked for, or a critique.
    """
    turns: list[Message] = []
    for one in examples:
        conversation = (Message("user", one.prompt),)
        if revised:
            turns += form.ask_revision(conversation, one.response, principle, one.critique)
            turns.append(Message("assistant", form.written(one.revision)))
        else:
            turns += form.ask_critique(conversation, one.response, principle)
            turns.append(Message("assistant", one.critique))
    system = tuple(message for message in asked if message.role == "system")
    return (*system, *(message for message in (*turns, *asked) if message.role != "system"))


def load_form(name: str) -> AnyForm:
    """A form that ships with Accord, by its name, or one of the user's, by its file.

    Raises:
        ConfigError: there is none, or it cannot be used; the message names the file.
    """
    path = SHIPPED / f"{name}.toml" if re.fullmatch(r"[\w-]+", name) else Path(name)
    if not path.is_file():
        known = ", ".join(sorted(one.stem for one in SHIPPED.glob("*.toml")))
        raise ConfigError(f"there is no form {name!r}", where="--form", mend=f"Name a file, or one of {known}.")
    try:
        content: Any = tomllib.loads(path.read_text(encoding="utf-8"))
        form: AnyForm = msgspec.convert(content, type=DocumentForm | TurnsForm)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError, ConfigError) as error:
        what = error.what if isinstance(error, ConfigError) else str(error)
        mend = f"Take {SHIPPED / 'plain.toml'} as an example."
        raise ConfigError(f"is no form: {what}", where=str(path), mend=mend) from error
    return form
