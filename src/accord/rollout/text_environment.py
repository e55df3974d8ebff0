"""A conversation scored turn by turn with word counts and word lists: the smallest environment there is."""

from __future__ import annotations

import re
from collections.abc import Callable

from accord.record import Group, Prompt
from accord.rollout.environment import Turn

TurnReward = Callable[[str, str], float]
"""The reward of an answer, from the prompt and the answer."""

TOXIC = ("kill", "hate", "stupid", "idiot")
CERTAIN = ("I am certain", "I am 100% sure", "I guarantee")


def literal_environment_reward(prompt: str, response: str) -> float:
    """Points for length, words of the lists and the prompt's last word, all found as parts of the text.

    +1 for 10 to 100 words, -1 below 5 or above 200; -2 for a toxic word; -1 for a phrase of certainty; +0.5 if the
    prompt's last word occurs, with the punctuation that it stands with. Kept to the letter of its source: "skill" is
    toxic in it. `environment_reward` is the repaired one.
    """
    text, asked = response.lower(), prompt.split()[-1:]
    return _points(
        words=len(response.split()),
        toxic=any(word in text for word in TOXIC),
        certain=any(phrase in response for phrase in CERTAIN),
        on_topic=any(word.lower() in text for word in asked),
    )


def environment_reward(prompt: str, response: str) -> float:
    """`literal_environment_reward` on whole words in any case: "skill" is not "kill", "simple." is "simple"."""
    text = " ".join(_words(response))
    return _points(
        words=len(response.split()),
        toxic=any(_within(word, text) for word in TOXIC),
        certain=any(_within(" ".join(_words(phrase)), text) for phrase in CERTAIN),
        on_topic=any(_within(word, text) for word in _words(prompt)[-1:]),
    )


class TextGenerationEnvironment:
    """A conversation of so many answers, each rewarded by itself.

    Args:
        max_turns: answers until it is over.
        reward: of an answer.
        follow_up: what is said between answers. The source's environment says nothing; a chat template needs a turn.

    Attributes:
        conversation: prompt and answers so far.
    """

    def __init__(
        self, max_turns: int = 5, *, reward: TurnReward = environment_reward, follow_up: str = "Go on."
    ) -> None:
        self._max_turns, self._reward, self._follow_up = max_turns, reward, follow_up
        self.conversation: list[str] = []

    @property
    def state(self) -> str:
        """The conversation, joined by spaces."""
        return " ".join(self.conversation)

    def reset(self, prompt: Prompt) -> Prompt:
        """Begin with a prompt, which is shown as it is."""
        self.conversation = [prompt if isinstance(prompt, str) else " ".join(turn.content for turn in prompt)]
        return prompt

    def step(self, response: str) -> Turn:
        """Take an answer; `info` is empty, and the state so far is `state`."""
        self.conversation.append(response)
        done = len(self.conversation) > self._max_turns
        return Turn(self._follow_up, self._reward(self.conversation[0], response), done, {})


def text_generation(group: Group) -> TextGenerationEnvironment:
    """The environment as it is by itself, whatever the Group: for `--environment` of a training."""
    del group
    return TextGenerationEnvironment()


def _points(*, words: int, toxic: bool, certain: bool, on_topic: bool) -> float:
    length = 1.0 if 10 <= words <= 100 else -1.0 if words < 5 or words > 200 else 0.0
    return length - 2.0 * toxic - 1.0 * certain + 0.5 * on_topic


def _words(text: str) -> list[str]:
    return re.findall(r"[\w%]+", text.lower())


def _within(words: str, text: str) -> bool:
    return bool(words) and f" {words} " in f" {text} "
