"""What tests need: tiny models, a byte tokenizer, a scripted chat partner, a server that fails as told, small data
sets.

Public: the tests of those who build on Accord use it as well. torch and transformers load when a model or tokenizer
is made, not at import.
"""

from accord.testing.chat import ScriptedChat
from accord.testing.groups import conversations, demonstrations, labelled_groups, preference_groups, scored_groups
from accord.testing.models import ARCHITECTURES, Architecture, tiny_model
from accord.testing.server import StandInServer
from accord.testing.styles import STYLES, ChatStyle, Style
from accord.testing.subjects import scripted_subject
from accord.testing.tokenizers import byte_tokenizer

__all__ = [
    "ARCHITECTURES",
    "STYLES",
    "Architecture",
    "ChatStyle",
    "ScriptedChat",
    "StandInServer",
    "Style",
    "byte_tokenizer",
    "conversations",
    "demonstrations",
    "labelled_groups",
    "preference_groups",
    "scored_groups",
    "scripted_subject",
    "tiny_model",
]
