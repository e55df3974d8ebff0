"""The figures of the study of offline reinforcement learning, and the Markdown page that shows them."""

from __future__ import annotations

import textwrap
from typing import Any

import msgspec

from accord.record import Estimate


class OfflineRow(msgspec.Struct, frozen=True):
    """One way to choose moves.

    Attributes:
        name: which.
        arrived: the chance to arrive, over seeds and starting squares.
        of_seed: its mean for each seed.
        over_cloning: the difference from cloning, square by square.
    """

    name: str
    arrived: Estimate
    of_seed: tuple[float, ...]
    over_cloning: Estimate | None


class OfflinePage(msgspec.Struct, frozen=True, kw_only=True):
    """The whole study."""

    command: str
    seeds: int
    scale: dict[str, Any]
    hyper: dict[str, float]
    rows: tuple[OfflineRow, ...]


def render(page: OfflinePage) -> str:
    """The page as Markdown."""
    table = ["| | arrived | interval | of each seed | over cloning | interval |", "|---|---:|---|---|---:|---|"]
    return "\n\n".join(
        [_GUIDE.strip(), _wrapped(_setting(page)), "\n".join([*table, *map(_row, page.rows)]), _LIMITS, ""]
    )


def _setting(page: OfflinePage) -> str:
    scale, hyper = page.scale, ", ".join(f"{name} {value:g}" for name, value in page.hyper.items())
    return (
        f"Made by `{page.command}`, over {page.seeds} seeds. A walker looks for one corner of sixteen squares. The "
        f"logs are {scale['walks']} walks of at most {scale['longest']} moves from squares drawn at random; "
        f"{scale['knowing']:.0%} are by walkers who go the right way half of the time, all others go any way. Each "
        f"move is one line, a transition with reward 1 on arrival. Small new models of characters learn from them for "
        f"{scale['steps']} steps, by `sft` from all moves alike and by `ilql` ({hyper}). The chance to arrive within "
        f"{scale['longest']} moves, over all squares to start from, is exact given how often each move is drawn in "
        f"{scale['answers']} answers a square. Intervals are 95%; the same square under several seeds is one cluster."
    )


def _row(row: OfflineRow) -> str:
    over = row.over_cloning
    beside = "– | –" if over is None else f"{over.mean:+.3f} | {over.low:+.3f} to {over.high:+.3f}"
    seeds, arrived = ", ".join(f"{value:.3f}" for value in row.of_seed), row.arrived
    return f"| {row.name} | {arrived.mean:.3f} | {arrived.low:.3f} to {arrived.high:.3f} | {seeds} | {beside} |"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


_LIMITS = """\
Cloning is as good as the logs, whoever walked. The Q heads join steps of different walks into a way that hardly anyone
took. What this does not show: free text. There a reward has to find its way back through every token of an answer, one
update of the targets after the other, and a larger `--polyak` and many more steps are needed. In one trial on the
embedded world, a hundred steps on 1,600 answers that the oracle had scored, decoding by worth was no better than the
clone."""

_GUIDE = r"""
# Offline reinforcement learning

Logs of what was said and what came of it, good and bad, without anyone to ask again: imitation makes a model as good as
the average of them. Implicit language Q-learning (ILQL) learns from the same logs what each token is worth, and decodes
by it.

```bash
accord train ilql --model MODEL --data scored.jsonl --out runs/ilql
accord sample --model runs/ilql/model --ilql-beta 8 "How do I wash a clay pot?"
```

`scored.jsonl` holds scored responses, `{"prompt": ..., "response": ..., "reward": ...}` or several to a prompt, or
transitions of episodes:

```json
{"state": "You are at the gate. ", "action": "north", "reward": 0, "next_state": "You are in the yard. ", "done": false}
```

`state` and `next_state` are text or messages. Where an episode goes on, the value of `next_state` is what comes after
the reward; where `done` is true, or where there is no `next_state`, nothing does.

What is trained: the language model clones the logs (`--awac` clones better tokens more); on its last states stand two Q
heads over the vocabulary, a V head, and targets that follow the Q heads (`--polyak`). V is pulled towards the better
actions that are in the data (`--expectile`), Q towards reward plus the next V, and `--cql` keeps tokens that nobody
tried below those that were. Of each Q head only the token that was taken and its softmax are computed, tile by tile:
no tensor of batch, length and vocabulary exists. `runs/ilql/model` is a plain model directory, the clone, with the
heads beside it in `action_values.safetensors`. Decoding draws from

$$\pi \propto \pi_\text{BC}\; e^{\beta (\min_k \bar Q_k - V)}$$

so `--ilql-beta 0` is the clone. The run's own samples are the clone's. A large beta trusts the heads where they have
seen little: raise it only as far as held-out rewards rise.

**Q-learning as first written** takes `reward + gamma * max Q(next state)` as target, with the network that is being
trained on both sides. Over a vocabulary that maximum finds the token whose value is overestimated most, among tens of
thousands that the logs never tried, and teaches it to the state before. ILQL's target has no maximum, comes from a copy
without gradient, and stops where the episode ends. `squared_td_error` in `accord.objectives.ilql` is the error of
either.

## What it learns
"""
