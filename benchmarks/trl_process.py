"""Train as a job says, through TRL: `python -m benchmarks.trl_process JOB SEEN`.

TRL runs in the job's precision, and without gradient checkpointing, its default, which would take longer. Where the job
asks for label rows only, TRL is told that a GPU kernel is there when it chooses which positions meet the output head,
and only then: so it does the work that it would do on a GPU.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import datasets
import msgspec
import torch
import transformers
import trl
import trl.trainer.utils
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from benchmarks.measurement import Job, Meter

warnings.filterwarnings("ignore", category=FutureWarning)
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer  # noqa: E402
from trl.experimental.cpo import CPOConfig, CPOTrainer  # noqa: E402


def trainer_of(job: Job) -> tuple[type[Any], type[Any], dict[str, Any]]:
    """TRL's trainer, its settings class, and the objective's own settings."""
    hyper = job.hyper
    given = {"max_length": 4096, "train_sampling_strategy": "sequential"}
    reference = given | {"precompute_ref_log_probs": job.precompute}
    match job.objective:
        case "sft":
            return SFTTrainer, SFTConfig, given
        case "dpo":
            return DPOTrainer, DPOConfig, {"loss_type": ["sigmoid"], "beta": hyper["beta"], **reference}
        case "ipo":
            return DPOTrainer, DPOConfig, {"loss_type": ["ipo"], "beta": hyper["tau"], **reference}
        case "grpo":
            own = {"loss_type": "grpo", "beta": hyper["kl_loss"], "shuffle_dataset": False}
            return (
                GRPOTrainer,
                GRPOConfig,
                own
                | {
                    "num_generations": job.samples,
                    "max_completion_length": job.max_tokens,
                },
            )
        case "simpo":
            own = {"loss_type": "simpo", "cpo_alpha": 0.0, "beta": hyper["beta"], "simpo_gamma": hyper["gamma"]}
            return CPOTrainer, CPOConfig, given | own
    raise ValueError(f"no TRL trainer is set up for {job.objective}")


class Watch(TrainerCallback):
    """Marks the end of every optimiser step."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.meter.step()


def recording(trainer: type[Any], losses: list[float]) -> type[Any]:
    """The trainer, which also keeps each loss unrounded."""

    class Recording(trainer):
        def compute_loss(self, *args: Any, **options: Any) -> Any:
            loss = super().compute_loss(*args, **options)
            losses.append(loss.item())
            return loss

    return Recording


def main(job_path: str, seen_path: str) -> None:
    job = msgspec.json.decode(Path(job_path).read_bytes(), type=Job)
    trainer_class, config_class, own = trainer_of(job)
    rows = [msgspec.json.decode(line) for line in Path(job.data).read_bytes().splitlines()]
    datasets.disable_progress_bars()
    AutoModelForCausalLM, AutoTokenizer  # noqa: B018 - loaded on first use; an import
    if job.label_rows:
        trl.trainer.utils._use_triton = lambda device: True
    meter, losses = Meter(), []
    every = job.batch * max(1, job.samples)
    at_once = job.at_once or every

    def early(completions: list[str], **_: Any) -> list[float]:
        return meter.score(completions)

    config = config_class(
        output_dir=str(Path(job.directory) / "run"),
        per_device_train_batch_size=at_once,
        gradient_accumulation_steps=every // at_once,
        max_steps=job.steps,
        learning_rate=job.lr,
        lr_scheduler_type="constant",
        bf16=job.dtype == "bf16",
        gradient_checkpointing=False,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
        dataloader_pin_memory=False,
        seed=job.seed,
        **own,
    )
    trainer = recording(trainer_class, losses)(
        model=AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32),
        args=config,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(job.model),
        callbacks=[Watch(meter)],
        **({"reward_funcs": early} if job.samples else {}),
    )
    trainer.train()
    versions = {"trl": trl.__version__, "torch": str(torch.__version__), "transformers": transformers.__version__}
    meter.write(seen_path, losses, versions)


if __name__ == "__main__":
    main(*sys.argv[1:])
