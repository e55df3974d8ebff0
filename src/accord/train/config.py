"""The settings every training shares. Each field is a flag of the command line and a key of `config.toml`. No torch."""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec

from accord.errors import ConfigError

Schedule = Literal["cosine", "linear", "constant"]
Dtype = Literal["fp32", "bf16"]
Overlong = Literal["drop", "truncate"]
ChatMode = Literal["auto", "on", "off"]
Template = Literal["messages", "instruction"]
Shard = Literal["auto", "full", "none"]
Missing = Literal["stop", "record"]
OffPolicy = Literal["token", "response"]
Mixing = Literal["arithmetic", "geometric"]


class TrainConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of one training run, validated before any model loads.

    Attributes:
        objective: name in `accord.objectives.OBJECTIVES`, or `module:function`.
        model: directory or hub id of a causal language model.
        data: one or more files, directories or hub ids to train on.
        out: the run directory.
        eval_data: held-out data; without it a share of the training prompts (`holdout`) is set aside.
        holdout: share of the prompts set aside for the before/after measurement when `eval_data` is not given.
        columns: where to find fields in a format that is not recognised, e.g. `prompt=question,chosen=good`.
        axis: which of several kinds of preference to learn, e.g. `helpfulness` or `safety` in PKU-SafeRLHF.
        template: how Alpaca's and Dolly's instructions are put: as a chat message, or in the plain-text
            `### Instruction:` template.
        hyper: the objective's own hyperparameters.
        seed: seeds the order of the data, the adapters' initial weights and sampling.
        epochs: passes over the data; fractions are allowed.
        steps: optimiser steps; overrides `epochs`.
        lr: peak learning rate. Default by kind: 1e-6 for full fine-tuning on preferences, 1e-5 for sft and
            reward models, ten times as much under LoRA.
        schedule: shape of the learning rate after warm-up.
        warmup: share of the steps spent warming up (below 1), or a number of steps (1 or more).
        weight_decay: decoupled weight decay of AdamW, on matrices only.
        adam_beta1: decay of the first moment.
        adam_beta2: decay of the second moment.
        tokens_per_step: tokens (prompts and responses) an optimiser step holds; Groups are added until it is reached.
        batch_size: Groups an optimiser step holds, instead of `tokens_per_step`.
        micro_batch_tokens: tokens that go through the model at once; bounds memory, does not change the result. 0 takes
            4096; on a CPU fewer, but 1024, of models that keep more than 64 KiB a token for the backward pass.
        max_length: longest prompt plus response in tokens; default the model's own limit, at most 4096.
        overlong: what happens to a longer row: dropped (and counted), or its response cut (and counted).
        reference_every: steps after which the reference moves towards the policy, again and again (TR-DPO, 512 in the
            paper); 0 keeps it at the starting weights.
        reference_mix: the policy's share in such a move; 1 makes the reference a copy of the policy.
        max_grad_norm: gradient clipping threshold; 0 switches it off.
        dtype: bf16 computes in bfloat16 with fp32 weights for what is trained; fp32 is exact and slower on a GPU.
        device: torch device; default CUDA if there is one, else the CPU.
        lora_r: rank of the LoRA adapters; 0 trains all weights.
        lora_alpha: scale of the adapters; default twice the rank.
        lora_dropout: dropout inside the adapters.
        gradient_checkpointing: recompute activations in the backward pass: less memory, about a third more time.
        compile: compile the decoder layers by torch.compile for training and scoring, in the first steps: for long runs
            on GPUs, or in bf16; gains nothing in fp32 on a CPU. Needs a C++ compiler, on a GPU also triton.
        shard: with several processes, hold a share of the weights, gradients and moments in each (full) or all in
            each (none). Auto shards on GPUs, except what cannot be sharded: trust-region methods and ilql.
        chat: wrap plain-text prompts as a user turn of the chat template: when there is one (auto), always, never.
        save_every: steps between checkpoints; default a tenth of the run. 0 checkpoints only when a signal stops the
            run, and at the end.
        keep_checkpoints: how many checkpoints to keep.
        eval_every: steps between measurements on the held-out data; 0 measures before and after only.
        log_every: steps between lines of the console log; `metrics.jsonl` has every step.
        samples: how many fixed held-out prompts are answered before, during and after training; 0 samples none.
        sample_tokens: longest sampled answer in tokens.
        reward: what scores sampled answers; given, training goes in rounds of sampling and scoring, and `data` holds
            prompts. A name with settings (`numeric:tolerance=0.01`), `model:DIRECTORY`, `module:function`, or a URL.
        judge: who compares sampled answers, in place of `reward`: a model's directory or hub id, `http://host/v1#model`,
            `module:function`, `reward:SPEC`, or `self` for the policy as it is in that round.
        judge_template: how a judge is asked: the name of a template, or a file of your own.
        principles: file of principles that a judge goes by.
        n: answers sampled to each prompt; default by method.
        prompts: prompts a round.
        passes: how often a round's answers are trained on; default by method, mostly once.
        max_tokens: longest sampled answer; a longer one is cut and counts as unfinished.
        sample_temperature: of the sampling; log-probabilities are taken at the same temperature.
        rollouts: vLLM server that answers in place of this process, `http://HOST/v1#MODEL`; it is handed the policy's
            weights before each round, through a directory in `out` that it must be able to read.
        environment: `module:function` from a Group to a text environment with which the policy takes turns; the return
            of an episode is a reward.
        max_turns: answers of the policy after which an episode with the environment ends in any case.
        ahead: 1 draws a round's answers with the weights before the last round's updates, so that a server draws them
            while the updates are computed; 0 draws them with the newest.
        off_policy: what is weighed by itself in a policy-gradient method where the weights that drew an answer are not
            those that learn from it (ahead, rollouts): each token, or, exact but noisier, the whole response.
        off_policy_cap: largest such weight; higher is less biased and noisier.
        refill: how often further prompts may replace those whose answers all score alike, in a round; default by
            method, mostly 0.
        self_play: compare the data's answers with the policy's own and prefer the data's, in rounds (SPIN); the
            reference is the policy of the round before.
        replay: earlier rounds whose answers are trained on again; for objectives that need not be on-policy.
        patience: measurements without a better held-out reward after which training ends; 0 trains to the end.
        resample: how often an answer that a reward of role=reject refuses is drawn again; what is refused to the end
            is not learned from.
        alarm: what follows a sign that the reward is being gamed: it is noted, or it ends training as well.
        missing_reward: whether an answer that a reward fails on stops the run or is recorded without a score.
        target_kl: end a round's passes when the policy is 1.5 times this far from the one that sampled, in nats a
            token; 0 never does.
        teacher: model whose distributions `distill` learns; it must have the same vocabulary.
        own_answers: share of the rounds in which `distill` learns on the policy's own answers, not on the data's or,
            where the data has none, the teacher's; 0 trains on the given answers without rounds.
        ptx_data: texts to keep likely while rewards are learned, where the method's `ptx_coefficient` is above 0.
        guide: model that has a say in what a policy-gradient method samples; it must have the same vocabulary.
        guide_share: the guide's share of the first round's distributions, below 1; 0 samples from the policy alone.
        guide_span: share of the training over which the guide falls silent, from `guide_share` in a straight line.
        mixing: what several policies that sample as one do: what any of them would (arithmetic), or what none of them
            objects to (geometric).
        opponent_share: the reference's share, in the exponent, of the policy whose answers the policy's own are
            compared with, for objectives that take samples of both; default 1 for xpo, 0.125 for nash_md.
        critic: model that the critic starts from, where the method has one: a language or reward model; default the
            policy's.
        critic_lr: learning rate of the critic; default ten times the policy's.
        track: further trackers, e.g. `tensorboard`, `wandb`, `trackio`.
        trust_remote_code: run code that comes with the model. Off unless you trust its author.
    """

    objective: str
    model: str
    data: tuple[str, ...]
    out: str
    eval_data: tuple[str, ...] = ()
    holdout: float = 0.05
    columns: str | None = None
    axis: str | None = None
    template: Template = "messages"
    hyper: dict[str, Any] = {}
    seed: int = 0
    epochs: float = 1.0
    steps: int | None = None
    lr: float | None = None
    schedule: Schedule = "cosine"
    warmup: float = 0.05
    weight_decay: float = 0.0
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    tokens_per_step: int = 16384
    batch_size: int | None = None
    micro_batch_tokens: int = 0
    max_length: int | None = None
    overlong: Overlong = "drop"
    reference_every: int = 0
    reference_mix: float = 0.6
    max_grad_norm: float = 1.0
    dtype: Dtype = "fp32"
    device: str | None = None
    lora_r: int = 0
    lora_alpha: float | None = None
    lora_dropout: float = 0.0
    gradient_checkpointing: bool = False
    compile: bool = False
    shard: Shard = "auto"
    chat: ChatMode = "auto"
    save_every: int | None = None
    keep_checkpoints: int = 2
    eval_every: int = 0
    log_every: int = 10
    samples: int = 8
    sample_tokens: int = 128
    reward: tuple[str, ...] = ()
    judge: str | None = None
    judge_template: str = "plain"
    principles: str | None = None
    n: int | None = None
    prompts: int = 32
    passes: int | None = None
    max_tokens: int = 128
    sample_temperature: float = 1.0
    rollouts: str | None = None
    environment: str | None = None
    max_turns: int = 8
    ahead: int = 0
    off_policy: OffPolicy = "token"
    off_policy_cap: float = 2.0
    refill: int | None = None
    self_play: bool = False
    replay: int = 0
    patience: int = 0
    resample: int = 3
    alarm: Literal["note", "stop"] = "note"
    missing_reward: Missing = "stop"
    target_kl: float = 0.0
    teacher: str | None = None
    own_answers: float = 0.0
    ptx_data: tuple[str, ...] = ()
    guide: str | None = None
    guide_share: float = 0.5
    guide_span: float = 0.5
    mixing: Mixing = "arithmetic"
    opponent_share: float | None = None
    critic: str | None = None
    critic_lr: float | None = None
    track: tuple[str, ...] = ()
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        for name in ("data", "eval_data", "reward", "ptx_data", "track"):
            if isinstance(getattr(self, name), str):
                raise ConfigError("is one string, a tuple is expected", where=_flag(name), mend="Write ('it',).")
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and low <= value <= high):
                upper = "" if high == _INFINITE else f" and at most {high:g}"
                raise ConfigError(f"{value} is out of range", where=_flag(name), mend=f"Give at least {low:g}{upper}.")
        if not self.data:
            raise ConfigError("no training data", where="--data", mend="Name a file, a directory or a hub id.")
        if self.lora_dropout and not self.lora_r:
            raise ConfigError("has no effect without adapters", where="--lora-dropout", mend="Add --lora-r 16.")
        if self.judge is None and (self.principles is not None or self.judge_template != "plain"):
            flag = "--judge-template" if self.principles is None else "--principles"
            raise ConfigError("has no effect without a judge", where=flag, mend="Add --judge.")
        if self.patience and not self.eval_every:
            raise ConfigError("has no effect without measurements", where="--patience", mend="Add --eval-every 10.")


_INFINITE = float("inf")
_TINY = 1e-12
_RANGES: tuple[tuple[str, float, float], ...] = (
    ("seed", 0, 2**63 - 1),
    ("holdout", 0.0, 0.9),
    ("epochs", _TINY, _INFINITE),
    ("steps", 1, _INFINITE),
    ("lr", 0.0, 1.0),
    ("warmup", 0.0, _INFINITE),
    ("weight_decay", 0.0, 1.0),
    ("adam_beta1", 0.0, 0.9999999),
    ("adam_beta2", 0.0, 0.9999999),
    ("tokens_per_step", 1, _INFINITE),
    ("batch_size", 1, _INFINITE),
    ("micro_batch_tokens", 0, _INFINITE),
    ("max_length", 8, _INFINITE),
    ("reference_every", 0, _INFINITE),
    ("reference_mix", _TINY, 1.0),
    ("max_grad_norm", 0.0, _INFINITE),
    ("lora_r", 0, 4096),
    ("lora_alpha", _TINY, _INFINITE),
    ("lora_dropout", 0.0, 0.99),
    ("save_every", 0, _INFINITE),
    ("keep_checkpoints", 1, _INFINITE),
    ("eval_every", 0, _INFINITE),
    ("log_every", 1, _INFINITE),
    ("samples", 0, _INFINITE),
    ("sample_tokens", 1, _INFINITE),
    ("n", 1, _INFINITE),
    ("prompts", 1, _INFINITE),
    ("passes", 1, _INFINITE),
    ("max_tokens", 1, _INFINITE),
    ("sample_temperature", _TINY, 100.0),
    ("max_turns", 1, _INFINITE),
    ("ahead", 0, 1),
    ("off_policy_cap", _TINY, _INFINITE),
    ("refill", 0, _INFINITE),
    ("resample", 0, _INFINITE),
    ("replay", 0, _INFINITE),
    ("patience", 0, _INFINITE),
    ("own_answers", 0.0, 1.0),
    ("guide_share", 0.0, 1.0 - 1e-6),
    ("guide_span", _TINY, 1.0),
    ("opponent_share", 0.0, 1.0),
    ("target_kl", 0.0, _INFINITE),
    ("critic_lr", 0.0, 1.0),
)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
