"""`accord in-context`: answers that demonstrations of good behaviour make more likely, without any training."""

from __future__ import annotations

from rich.text import Text

from accord.cli.parameters import Several
from accord.cli.sample import prompts_of
from accord.cli.terminal import console
from accord.data import read
from accord.data.select import ranked
from accord.data.show import printable
from accord.record import write_groups
from accord.train.config import ChatMode, Dtype


def in_context(
    *prompts: str,
    model: str,
    demonstrations: str,
    against: str | None = None,
    data: Several = (),
    columns: str | None = None,
    limit: int | None = None,
    shots: int = 1,
    candidates: int = 8,
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_tokens: int = 128,
    seed: int = 0,
    out: str | None = None,
    dtype: Dtype = "fp32",
    device: str | None = None,
    chat: ChatMode = "auto",
) -> int:
    """Answer prompts by in-context DPO: sample behind demonstrations, and take what they raised most.

    Args:
        prompts: what to answer.
        model: directory or hub id of a causal language model.
        demonstrations: file of prompts with good answers.
        against: file of prompts with bad answers, to score against instead of the bare prompt.
        data: files, directories or hub ids whose prompts to answer.
        columns: where to find fields in a format that is not recognised, e.g. prompt=question.
        limit: answer only the first so many prompts.
        shots: demonstrations in front of a prompt, the nearest by words and by meaning.
        candidates: answers to sample and score.
        temperature: divides the logits; 0 takes the most likely token.
        top_p: draw among the most likely tokens that together have this probability.
        max_tokens: longest answer in tokens.
        seed: the same seed draws the same answers.
        out: write Groups with all candidates and their scores to this JSONL file instead of showing the best.
        dtype: compute precision.
        device: torch device; default CUDA if there is one, else the CPU.
        chat: wrap plain-text prompts as a user turn of the model's chat template.
    """
    from accord.policy.sample import Sampling

    sampling = Sampling(temperature=temperature, top_p=top_p, max_tokens=max_tokens, seed=seed)
    groups = prompts_of(prompts, data, columns, command="in-context")[:limit]
    shown = [read([path]).groups for path in (demonstrations, against) if path is not None]

    from accord.policy.load import load_policy
    from accord.recipes.in_context import Demonstrations, answer_in_context
    from accord.rollout import progress_bar

    policy = load_policy(model, dtype=dtype, device=device, chat=chat)
    good, *bad = [Demonstrations(found, policy) for found in shown]
    screen = console()
    with progress_bar("sampling", screen) as progress:
        answered = answer_in_context(
            policy,
            groups,
            good,
            against=bad[0] if bad else None,
            shots=shots,
            candidates=candidates,
            sampling=sampling,
            progress=progress,
        )
    if out is not None:
        count = write_groups(out, answered)
        screen.print(f"{count} groups of {candidates}, scored: {out}", soft_wrap=True)
        return 0
    for group in answered:
        score, index = ranked(group)[0]
        screen.print(printable(group.prompt_text(), style="bold"))
        screen.print(printable(group.responses[index].text), Text(f"[{score:+.2f} nats]", style="dim"))
        screen.print()
    return 0
