"""Flags that several commands share: how models that talk are opened and paid, where data come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import Parameter

from accord.cli.parameters import Several, Switch
from accord.errors import ConfigError
from accord.train.config import ChatMode, Dtype

if TYPE_CHECKING:
    from rich.console import Console

    from accord.chat.spec import Opening
    from accord.chat.usage import Prices
    from accord.recipes.constitution_cast import Cast
    from accord.record import Group


@Parameter(name="*")
@dataclass(frozen=True)
class Models:
    """How models that talk are opened, remembered and paid.

    Attributes:
        parallel: requests to a server under way at a time.
        timeout: seconds without a byte of a server's answer.
        retries: attempts after one that failed.
        key_env: environment variable with the key that a server wants.
        price_in: price of a million tokens read, to show the cost.
        price_out: price of a million tokens written.
        cache: SQLite file of models' answers; default in Accord's cache directory.
        dtype: compute precision of a model that talks in this process.
        device: torch device; default CUDA if there is one, else the CPU.
        chat: wrap plain-text prompts as a user turn of the model's chat template.
        trust_remote_code: run code that comes with the model. Off unless you trust its author.
    """

    parallel: int = 16
    timeout: float = 600.0
    retries: int = 5
    key_env: str | None = None
    price_in: float | None = None
    price_out: float | None = None
    cache: str | None = None
    dtype: Dtype = "fp32"
    device: str | None = None
    chat: ChatMode = "auto"
    trust_remote_code: Switch = False

    def opening(self) -> Opening:
        """How they are loaded or reached."""
        from accord.chat.spec import Opening

        return Opening(
            self.dtype,
            self.device,
            self.chat,
            self.trust_remote_code,
            self.parallel,
            self.timeout,
            self.retries,
            self.key_env,
        )

    def kept(self) -> Path | None:
        """The file of their answers, if one is named."""
        return None if self.cache is None else Path(self.cache)

    def cast(self) -> Cast:
        """What opens them."""
        from accord.recipes.constitution_cast import Cast

        return Cast(self.opening(), self.kept())

    def prices(self) -> Prices:
        """Of a million tokens read, and written."""
        return self.price_in, self.price_out

    def cost(self, cast: Cast) -> float | None:
        """What their answers have cost so far; `None` without prices."""
        return cast.usage.cost(self.prices())

    def tell(self, cast: Cast, screen: Console) -> None:
        """A line on what was asked and what it cost."""
        screen.print(cast.usage.told(self.prices()), soft_wrap=True)


@Parameter(name="*")
@dataclass(frozen=True)
class Source:
    """How data are read.

    Attributes:
        columns: where to find fields in a format that is not recognised, e.g. prompt=question.
        split: which split of a data set to read.
        limit: use only the first so many prompts of --data.
    """

    columns: str | None = None
    split: str = "train"
    limit: int | None = None

    def groups(self, data: Several) -> list[Group]:
        """The Groups of `--data`, as many as are wanted.

        Raises:
            ConfigError: none are named, or none are wanted.
        """
        if not data:
            raise ConfigError("required, and not given", where="--data", mend="Name a file of prompts.")
        if self.limit is not None and self.limit < 1:
            raise ConfigError("must be 1 or more", where="--limit")
        return self.others(data)[: self.limit]

    def others(self, data: Several) -> list[Group]:
        """The Groups of other files, all of them."""
        from accord.data import read

        return read(data, columns=self.columns, split=self.split).groups if data else []
