"""Judges by the words of a command line.

DIRECTORY, http://HOST/v1#MODEL, module:function    a model that talks, as `accord.chat.spec` has it
reward:SPEC                                         a reward, as `accord.feedback.spec` has it
control:first, control:longest, control:random      a judge that is known to be bad
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from accord.chat.cached import CachedChat
from accord.chat.spec import Opening, open_chat
from accord.chat.types import Chat
from accord.errors import ConfigError
from accord.feedback.judge.chat_judge import ChatJudge
from accord.feedback.judge.pair import PairJudge
from accord.feedback.judge.pointwise import PointwiseJudge
from accord.feedback.judge.principles import Principle
from accord.feedback.judge.reward_judge import CONTROLS, RewardJudge
from accord.feedback.judge.templates import PairTemplate, load_template
from accord.feedback.spec import parse_one

Judge = PairJudge | PointwiseJudge

PLAIN = "plain"
"""The template that is taken where none is named."""


def parse_judge(
    spec: str,
    *,
    template: str = PLAIN,
    principles: Sequence[Principle] = (),
    temperature: float = 1.0,
    name: str | None = None,
    opening: Opening | None = None,
    cache: Path | None = None,
) -> tuple[Judge, CachedChat | None]:
    """The judge that a command line names, and the model behind it where it asks one.

    Args:
        spec: as the module says.
        template: name or file of the template, for a model that talks.
        principles: what it goes by; the template's own if none are given.
        temperature: what the log-odds of its judgements are divided by.
        name: what it is called; default by the spec.
        opening: how a model is loaded or reached.
        cache: the SQLite file of its answers; default in Accord's cache directory.

    Raises:
        ConfigError: it cannot be read, found or used as it is written.
        ModelError: a model cannot be loaded.
    """
    kind, _, rest = spec.partition(":")
    if kind in ("control", "reward"):
        if principles or template != PLAIN:
            flag = "--principles" if principles else "--template"
            raise ConfigError(f"has no effect on {kind}:{rest}", where=flag, mend="Leave it out.")
        if kind == "control":
            return _control(rest), None
        return RewardJudge(parse_one(rest).reward, temperature=temperature, name=name), None
    chat = CachedChat(open_chat(spec, opening, flag="--judge"), cache)
    return chat_judge(
        chat, template=template, principles=principles, temperature=temperature, name=name or short_name(spec)
    ), chat


def chat_judge(
    chat: Chat,
    *,
    template: str = PLAIN,
    principles: Sequence[Principle] = (),
    temperature: float = 1.0,
    name: str = "judge",
) -> ChatJudge | PointwiseJudge:
    """A model that talks as the judge that its template makes of it: of pairs, or of single responses.

    Raises:
        ConfigError: the template cannot be used, or has no place for principles.
    """
    asked = load_template(template)
    if isinstance(asked, PairTemplate):
        return ChatJudge(chat, asked, principles=principles, temperature=temperature, name=name)
    if principles:
        mend = "Its aspects take their place; write a template of your own."
        raise ConfigError("has no effect on a template that scores", where="--principles", mend=mend)
    return PointwiseJudge(chat, asked, name=name)


def short_name(spec: str) -> str:
    """What a judge is called for short: the model's name on a server, the last part of a path."""
    if spec.startswith(("http://", "https://")):
        return spec.rpartition("#")[2] or spec
    return Path(spec).name or spec


def _control(name: str) -> PairJudge:
    if name not in CONTROLS:
        close = difflib.get_close_matches(name, CONTROLS, n=1)
        mend = f"Did you mean {close[0]!r}? " if close else ""
        raise ConfigError(f"there is no control {name!r}", where="--judge", mend=f"{mend}Known: {', '.join(CONTROLS)}.")
    return CONTROLS[name]
