"""Groups to token ids: the chat template, the end of a turn, and which tokens are trained.

Prompt and response are tokenised separately and joined as ids, so that the prompt's ids are those the sampler sees, and
masks follow from lengths alone. The chat template owns the beginning-of-sequence token; the response owns its end.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Literal

from accord.errors import DataError, ModelError
from accord.policy.turns import TurnFormat, read_template, render
from accord.policy.untrusted import TextEncoder, added_prefix, slot
from accord.record import Encoded, EncodedResponse, Group, Message, Origin, Prompt, Response

ChatMode = Literal["auto", "on", "off"]

_DEFAULT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ message.role | capitalize }}: {{ message.content | trim }}"
    "{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)


class Renderer:
    """Turns Groups into token ids with a model's own tokenizer and chat template; implements `record.Encoder`.

    Message prompts are written by the chat template. A tokenizer without one gets a plain template
    (`User: ...`, `Assistant: ...`, end-of-sequence), set on the tokenizer, so that the saved model carries it.

    Plain-text prompts become one user turn under `on`, and under `auto` where the tokenizer comes with a chat template.
    Otherwise they are read as they are, with the beginning-of-sequence token that the tokenizer adds to text, and the
    response ends with the end-of-sequence token. Under `off` special tokens spelled out in a plain-text prompt are
    special tokens (this is how to bring prompts in a format of your own). Everywhere else text stays text: a message
    or response that spells out `<|im_end|>` is tokenised as those characters.

    A response is trained whole, its end of turn included, and nothing after it. Responses that carry sampled tokens
    which this tokenizer reads as their text keep exactly those tokens. The steps of a response are tokenised
    separately, so that each ends with a token of its own; of sampled ones, a step ends with the one that completes it.

    Args:
        tokenizer: a transformers tokenizer.
        chat: when plain-text prompts are wrapped.

    Raises:
        ModelError: the chat template cannot write a question with its answer, or nothing can end a response.
    """

    def __init__(self, tokenizer: Any, *, chat: ChatMode = "auto") -> None:
        self.tokenizer = tokenizer
        self._raw_prompts = chat == "off"
        self._wraps_text = chat == "on" or (chat == "auto" and bool(tokenizer.chat_template))
        self._prefix = added_prefix(tokenizer)
        self._eos: int | None = tokenizer.eos_token_id
        self._default_template = False
        self._turns: TurnFormat | None = None
        self._turn_end: tuple[int, ...] = ()
        self._around = ("", "")  # what decoding shows before and after the text of an answer
        self._encoder = TextEncoder(tokenizer)
        if self._wraps_text:
            self._turn_format()
        else:
            self._text_end()

    def encode(self, group: Group) -> Encoded:
        """Token ids of a Group.

        Raises:
            DataError: the chat template refuses the conversation, or the prompt is empty; names the row.
        """
        prompt = self.encode_prompt(group.prompt, origin=group.origin)
        return Encoded(prompt, tuple(self._response(group, response) for response in group.responses))

    def encode_prompt(self, prompt: Prompt, *, origin: Origin | None = None) -> tuple[int, ...]:
        """The ids the policy reads before it answers; `origin` names the row in errors."""
        if self._is_chat(prompt):
            turns = self._turn_format()
            text = render(
                self.tokenizer, self._hidden(_messages(prompt)), generation=True, origin=origin, header=turns.header
            )
            return tuple(self._encoder.encode(text))
        assert isinstance(prompt, str)
        ids = tuple(self._encoder.encode(prompt if self._raw_prompts else self._encoder.hide(prompt)))
        if ids[: len(self._prefix)] != self._prefix:
            ids = self._prefix + ids
        if not ids:
            raise _at(origin, "the prompt is empty and the model has no beginning-of-sequence token to start from")
        return ids

    def encode_turn(
        self, prompt: Prompt, turns: Sequence[Message], *, ended: bool, origin: Origin | None = None
    ) -> tuple[int, ...]:
        """The ids between the last token of a sampled answer and the first of the next; no answer is tokenised.

        Args:
            prompt: what was answered.
            turns: what followed it: answers and observations, an observation at the end. A plain-text prompt is
                continued by the observation as it is.
            ended: whether the answer's last token ends its turn, so that the turn need not be ended here.
            origin: names the row in errors.

        Raises:
            DataError: the chat template refuses the conversation.
        """
        if not self._is_chat(prompt):
            return tuple(self._encoder.encode(self._encoder.hide(turns[-1].content), after="x"))
        form = self._turn_format()
        last = max(place for place, turn in enumerate(turns) if turn.role == "assistant")
        messages = self._hidden([*_messages(prompt), *turns])
        messages[last - len(turns)] = Message("assistant", slot(0))
        text = render(self.tokenizer, messages, generation=True, origin=origin, header=form.header)
        _, found, after = text.partition(slot(0))
        if not found:
            raise _at(origin, "the chat template leaves out an answer that was observed")
        if ended and form.end is not None:
            after = after.removeprefix(self._encoder.through_marker(after) or "")
        return tuple(self._encoder.encode(after, after="x"))

    def decode(self, tokens: tuple[int, ...] | list[int]) -> str:
        """Readable text of token ids, special tokens shown."""
        return self._decode(tokens, skip_special_tokens=False)

    def text_of(self, tokens: Sequence[int], *, prompt: Prompt | None = None) -> str:
        """The text of a sampled response: up to its end of turn, without special tokens and the template's own lead.

        Args:
            tokens: the sampled ids.
            prompt: what was answered; tells a chat from plain text where both occur.
        """
        stops = set(self.stop_ids)
        length = next((position for position, token in enumerate(tokens) if token in stops), len(tokens))
        text = self._decode(tokens[:length], skip_special_tokens=True)
        if not (self._wraps_text if prompt is None else self._is_chat(prompt)):
            return text
        before, after = self._around
        return text.removeprefix(before).removesuffix(after if length < len(tokens) else "")

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that end a response: end of turn and end of sequence."""
        eos = () if self._eos is None else (self._eos,)
        return tuple(dict.fromkeys((*self._turn_end[-1:], *eos)))

    @property
    def pad_id(self) -> int:
        """The padding token; the end of sequence where the tokenizer has none. Masks never depend on it."""
        pad: int | None = self.tokenizer.pad_token_id
        return self.stop_ids[-1] if pad is None else pad

    def describe(self) -> dict[str, str]:
        """Facts for the reader: `chat_template`, `bos`, `eos`, `end_of_turn`, each a short sentence."""
        if self._default_template:
            template = "the model has none; Accord's plain User/Assistant template is used and saved with it"
        elif self._turns is None:
            template = "the model has none; prompts are read as plain text"
        else:
            template = "the model's own"
        if self._turns is not None:
            template += (
                "; plain-text prompts become a user turn" if self._wraps_text else "; plain-text prompts stay text"
            )
        first = repr(self.decode(list(self._prefix))) if self._prefix else "nothing"
        end = f"{self.decode(self._turn_end)!r} ends an answer and is trained" if self._turn_end else "as eos"
        return {
            "chat_template": template,
            "bos": f"{first} starts plain text" + ("; in a chat the template decides" if self._turns else ""),
            "eos": "the tokenizer has none" if self._eos is None else f"{self.decode((self._eos,))!r} ends a sequence",
            "end_of_turn": end,
        }

    def fingerprint(self) -> str:
        """Content hash of everything that determines the ids: tokenizer, chat template, wrapping."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is None:
            state = self.tokenizer.get_vocab()
        else:
            state = json.loads(backend.to_str()) | {"padding": None, "truncation": None}  # these vary from call to call
        rest = [self.tokenizer.special_tokens_map, self.tokenizer.chat_template, self._wraps_text, self._raw_prompts]
        return hashlib.blake2b(json.dumps([state, rest], sort_keys=True).encode(), digest_size=16).hexdigest()

    def _response(self, group: Group, response: Response) -> EncodedResponse:
        sampled = self._sampled(group, response)
        if sampled is not None:
            return sampled
        if not self._is_chat(group.prompt):
            if response.context:
                raise _at(group.origin, "a response of several turns follows a plain-text prompt; pass --chat on")
            return self._answer(group.prompt, response, lead="", anchor="\n", turns=None)
        turns = self._turn_format()
        if not response.context:
            return self._answer(group.prompt, response, lead=turns.lead, anchor=turns.anchor, turns=turns)
        return self._conversation(group, response, turns)

    def _sampled(self, group: Group, response: Response) -> EncodedResponse | None:
        """An answer that took turns while it was sampled, if its last turn reads as its text."""
        if response.tokens is None or response.trained is None:
            return None
        tokens, trained = response.tokens, response.trained
        if len(trained) != len(tokens):
            raise _at(
                group.origin, f"a response has {len(tokens)} tokens but says of {len(trained)} whether to train them"
            )
        end = max((place + 1 for place, own in enumerate(trained) if own), default=0)
        begin = max((place + 1 for place, own in enumerate(trained[:end]) if not own), default=0)
        last = tokens[begin:end]
        if last and not self._reads_as(last, response.text, group.prompt):
            return None
        steps = self._steps_of_sampled(last, response, group.prompt)
        return EncodedResponse(tokens, trained, tuple(begin + place for place in steps))

    def _conversation(self, group: Group, response: Response, turns: TurnFormat) -> EncodedResponse:
        """A response of several turns: its assistant turns trained, all else context."""
        messages = _messages(group.prompt)
        opening = render(
            self.tokenizer, self._hidden(messages), generation=True, origin=group.origin, header=turns.header
        )
        continuation = self._hidden((*response.context, Message("assistant", "")))
        answers = [message.role == "assistant" for message in continuation]
        places = [slot(index) for index in range(sum(answers))]
        remaining = iter(places)
        stand_ins = [Message("assistant", next(remaining)) if m.role == "assistant" else m for m in continuation]
        rest = render(self.tokenizer, [*self._hidden(messages), *stand_ins], generation=False, origin=group.origin)
        between: list[str] = []
        for place in places:
            before, found, rest = rest.partition(place)
            if not found:
                raise _at(group.origin, "the chat template leaves out earlier assistant turns of a response")
            between.append(before)
        between[0] = between[0].removeprefix(opening) if between[0].startswith(opening) else ""

        given = [Response(m.content) for m in response.context if m.role == "assistant"]
        tokens: list[int] = []
        trained: list[bool] = []
        steps: tuple[int, ...] = ()
        for index, (before, answer) in enumerate(zip(between, [*given, response], strict=True)):
            if index:
                end = self._encoder.through_marker(before) if turns.end is not None else ""
                before = before.removeprefix(end or "")
            lead = turns.lead if before.endswith(turns.lead) else ""
            context = self._encoder.encode(before.removesuffix(lead))
            own = self._answer(group.prompt, answer, lead=lead, anchor=turns.anchor, turns=turns)
            steps = tuple(len(tokens) + len(context) + end for end in own.steps)  # only the last answer has any
            tokens += [*context, *own.tokens]
            trained += [False] * len(context) + [True] * len(own.tokens)
        return EncodedResponse(tuple(tokens), tuple(trained), steps)

    def _answer(
        self, prompt: Prompt, response: Response, *, lead: str, anchor: str, turns: TurnFormat | None
    ) -> EncodedResponse:
        """The ids of one assistant turn, its end included, and where its steps end."""
        if response.tokens is not None and self._reads_as(response.tokens, response.text, prompt):
            return _trained(response.tokens, self._steps_of_sampled(response.tokens, response, prompt))
        text, places = response.text, response.steps
        if turns is not None:
            text, places = turns.with_lead(lead, response.text), turns.places(lead, response.text, response.steps)
        ids, steps = self._in_steps(text, places, anchor)
        if not response.finished:
            return _trained(ids, steps)
        return _trained(ids + (self._text_end() if turns is None else self._turn_end), steps)

    def _in_steps(self, text: str, places: Sequence[int], anchor: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The ids of a text whose steps are tokenised separately, so that no token reaches across, and their ends."""
        ids: list[int] = []
        ends: list[int] = []
        start = 0
        for place in places:
            ids += self._encoder.encode(self._encoder.hide(text[start:place]), after="\n" if start else anchor)
            ends.append(max(0, len(ids) - 1))
            start = place
        ids += self._encoder.encode(self._encoder.hide(text[start:]), after="\n" if start else anchor)
        return tuple(ids), tuple(ends)

    def _steps_of_sampled(self, tokens: Sequence[int], response: Response, prompt: Prompt) -> tuple[int, ...]:
        """The first sampled token with which the text reaches the end of each step."""

        def length(count: int) -> int:
            return len(self.text_of(tokens[:count], prompt=prompt))

        counts = range(len(tokens) + 1)
        return tuple(max(0, bisect_left(counts, place, key=length) - 1) for place in response.steps)

    def _reads_as(self, tokens: tuple[int, ...], text: str, prompt: Prompt) -> bool:
        return self.text_of(tokens, prompt=prompt) == text

    def _text_end(self) -> tuple[int, ...]:
        if self._eos is None:
            raise _no_end()
        return (self._eos,)

    def _is_chat(self, prompt: Prompt) -> bool:
        return self._wraps_text or not isinstance(prompt, str)

    def _turn_format(self) -> TurnFormat:
        if self._turns is None:
            if not self.tokenizer.chat_template:
                self._text_end()  # the plain template ends answers with it
                bos = "{{ bos_token }}" if self._prefix else ""
                self.tokenizer.chat_template = bos + _DEFAULT_TEMPLATE
                self._default_template = True
            self._encoder, self._turns = read_template(self.tokenizer)
            end = self._turns.end
            self._turn_end = self._text_end() if end is None else tuple(self._encoder.encode(end, after="x"))
            probe = self._encoder.encode(self._turns.lead + "x", after=self._turns.anchor)
            before, _, after = self._decode([*probe, *self._turn_end[:-1]], skip_special_tokens=True).rpartition("x")
            self._around = (before, after)
        return self._turns

    def _hidden(self, messages: Sequence[Message]) -> list[Message]:
        hide = self._encoder.hide
        return [Message(hide(message.role), hide(message.content)) for message in messages]

    def _decode(self, tokens: Sequence[int], *, skip_special_tokens: bool) -> str:
        text: str = self.tokenizer.decode(
            list(tokens), skip_special_tokens=skip_special_tokens, clean_up_tokenization_spaces=False
        )
        return text


def _messages(prompt: Prompt) -> tuple[Message, ...]:
    return (Message("user", prompt),) if isinstance(prompt, str) else prompt


def _trained(tokens: tuple[int, ...], steps: tuple[int, ...]) -> EncodedResponse:
    return EncodedResponse(tokens, (True,) * len(tokens), steps)


def _at(origin: Origin | None, what: str) -> DataError:
    return DataError(what, path=None if origin is None else origin.path, line=None if origin is None else origin.line)


def _no_end() -> ModelError:
    return ModelError(
        "the tokenizer has no end-of-sequence token and its chat template writes none, so a response could not end",
        mend="Set eos_token in the model's tokenizer_config.json.",
    )
