"""The OpenAI client library: where it comes from, and what its errors mean in words."""

from __future__ import annotations

from typing import Any

from accord.errors import ConfigError


def openai_library(purpose: str) -> Any:
    """The client library, which comes with an extra.

    Args:
        purpose: what needs it, for the message.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import openai
    except ImportError as error:
        mend = "Install it: pip install 'accord[server]'."
        raise ConfigError(f"{purpose} need the openai package", mend=mend) from error
    return openai


def said_by(error: Any, *, timeout: float | None = None) -> str:
    """What went wrong, from an `openai.APIError`: what the server answered, or why there is no answer."""
    openai = openai_library("servers")
    if isinstance(error, openai.APIStatusError):
        said = " ".join(error.response.text.split())[:300]
        return f"answered {error.status_code} to {error.request.url.path}: {said or 'nothing'}"
    if isinstance(error, openai.APITimeoutError):
        return f"took longer than {timeout} s"
    return f"cannot be reached: {error.__cause__ or error}"
