"""`accord sample`: a model's answers to prompts, to read or as Groups for the next stage."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Literal

from rich.console import Console
from rich.text import Text

from accord.cli.parameters import Several, Switch
from accord.cli.terminal import console
from accord.data.show import printable
from accord.errors import ConfigError
from accord.record import Group, write_groups
from accord.train.config import ChatMode, Dtype


def sample(
    *prompts: str,
    model: str,
    data: Several = (),
    columns: str | None = None,
    limit: int | None = None,
    n: int = 1,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int | None = None,
    stop: Several = (),
    max_tokens: int = 128,
    seed: int = 0,
    ilql_beta: float | None = None,
    guide_reward: Several = (),
    guide_beta: float = 1.0,
    guide_by: Literal["tokens", "blocks"] = "blocks",
    guide_candidates: int = 8,
    guide_block: int = 16,
    guide_outlook: Literal["none", "greedy"] = "none",
    check: Switch = False,
    out: str | None = None,
    dtype: Dtype = "fp32",
    device: str | None = None,
    chat: ChatMode = "auto",
    trust_remote_code: Switch = False,
) -> int:
    """Answer prompts with a model: on the terminal, or as Accord's Groups with tokens and log-probabilities.

    Args:
        prompts: what to answer.
        model: directory or hub id of a causal language model.
        data: files, directories or hub ids whose prompts to answer.
        columns: where to find fields in a format that is not recognised, e.g. prompt=question.
        limit: answer only the first so many prompts.
        n: answers a prompt.
        temperature: divides the logits; 0 takes the most likely token.
        top_p: draw among the most likely tokens that together have this probability.
        top_k: draw among so many most likely tokens; all if not given.
        stop: texts that end an answer, which keeps them.
        max_tokens: longest answer in tokens.
        seed: the same seed draws the same answers.
        ilql_beta: for a model of accord train ilql, how much a token's worth counts beside what the model would say.
        guide_reward: what scores answers on their way, e.g. values:weights.json, model:DIR, module:function; what
            scores higher becomes likelier, without training.
        guide_beta: log-odds that a unit of that score is worth; 0 leaves the model, inf keeps the best candidate.
        guide_by: what is judged: the likeliest next tokens, or blocks that the model draws.
        guide_candidates: how many tokens or blocks are judged at each step.
        guide_block: tokens of a block; a block as long as --max-tokens is best-of-n.
        guide_outlook: whether a block is judged as it stands (none), or with the model's likeliest continuation
            (greedy).
        check: score the answers with the trainer as well, and say how far its log-probabilities are.
        out: write Groups to this JSONL file instead of showing the answers.
        dtype: compute precision.
        device: torch device; default CUDA if there is one, else the CPU.
        chat: wrap plain-text prompts as a user turn of the model's chat template.
        trust_remote_code: run code that comes with the model. Off unless you trust its author.
    """
    if n < 1 or (limit is not None and limit < 1):
        raise ConfigError("must be 1 or more", where="--n" if n < 1 else "--limit")
    if ilql_beta is not None and not 0 <= ilql_beta < float("inf"):
        raise ConfigError(f"{ilql_beta} is out of range", where="--ilql-beta", mend="Give 0 or more.")
    _require_comparable(check, ilql_beta, guide_reward, cut=top_p < 1 or top_k is not None)
    from accord.policy.sample import Sampling
    from accord.rollout.guided import Guide

    guide = Guide(beta=guide_beta, by=guide_by, candidates=guide_candidates, block=guide_block, outlook=guide_outlook)
    sampling = Sampling(temperature=temperature, top_p=top_p, top_k=top_k, stop=stop, max_tokens=max_tokens, seed=seed)
    groups = prompts_of(prompts, data, columns, command="sample")[:limit]

    from accord.feedback.score import valued
    from accord.feedback.spec import parse
    from accord.policy.action_values import decoding_by_worth
    from accord.policy.load import load_policy
    from accord.rollout import guided_rollout, progress_bar, rollout, sampler_gap

    value = valued(parse(guide_reward)) if guide_reward else None
    policy = load_policy(model, dtype=dtype, device=device, chat=chat, trust_remote_code=trust_remote_code)
    policy.version = policy.fingerprint()
    screen = console()
    decoding = nullcontext() if ilql_beta is None else decoding_by_worth(policy, beta=ilql_beta)
    with decoding, progress_bar("sampling", screen) as progress:
        if value is None:
            answered = rollout(policy, groups, n=n, sampling=sampling, progress=progress)
        else:
            answered = guided_rollout(policy, groups, value, n=n, sampling=sampling, guide=guide, progress=progress)
    if out is None:
        _show(answered, screen)
    else:
        count = write_groups(out, answered)
        screen.print(f"{count} groups of {n}: {out}", soft_wrap=True)
    if check:
        gap = sampler_gap(policy, answered, temperature=temperature)
        screen.print(
            f"sampler and trainer differ by {gap.mean:.1e} nats a token on average and by {gap.largest:.1e} at most, "
            f"over {gap.tokens:,} tokens (divergence k1 {gap.k1:.1e}, k3 {gap.k3:.1e})",
            soft_wrap=True,
        )
    return 0


def _require_comparable(check: bool, ilql_beta: float | None, guide_reward: Sequence[str], *, cut: bool) -> None:
    """Refuse a check of log-probabilities that no trainer has, and answers that two things would steer."""
    steered = "--guide-reward" if guide_reward else None if ilql_beta is None else "--ilql-beta"
    if guide_reward and ilql_beta is not None:
        mend = "Leave one of them out."
        raise ConfigError("cannot be combined with --guide-reward", where="--ilql-beta", mend=mend)
    if check and steered is not None:
        mend = "Leave one of them out: the trainer's log-probabilities are those of the model alone."
        raise ConfigError(f"cannot be combined with {steered}", where="--check", mend=mend)
    if check and cut:
        raise ConfigError(
            "cannot be combined with --top-p or --top-k",
            where="--check",
            mend="They draw from a cut distribution, whose log-probabilities no trainer has.",
        )


def prompts_of(prompts: Sequence[str], data: Sequence[str], columns: str | None, *, command: str) -> list[Group]:
    """The prompts that are given as words and in files.

    Raises:
        ConfigError: there are none.
    """
    groups = [Group(prompt=prompt) for prompt in prompts]
    if data:
        from accord.data import read

        groups += read(data, columns=columns).groups
    if not groups:
        mend = "Give prompts as arguments, or a file of them with --data."
        raise ConfigError("there is nothing to answer", where=f"accord {command}", mend=mend)
    return groups


def _show(groups: Sequence[Group], screen: Console) -> None:
    for group in groups:
        screen.print(printable(group.prompt_text(), style="bold"))
        for response in group.responses:
            screen.print(printable(response.text), Text("" if response.finished else "[cut]", style="dim"))
        screen.print()
