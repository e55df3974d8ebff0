"""The command `accord`: its subcommands, and what becomes of their errors."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

from cyclopts import App, CycloptsError, UnknownCommandError, UnusedCliTokensError

import accord
from accord.errors import AccordError, Interrupted

DEFECT = "This is a defect of Accord, not of your input. The traceback above says where; please report it."

_HELP = f"""{accord.__doc__}

Start with 'accord quickstart', then 'accord data check FILE' and 'accord train --help'.

With --debug, any command shows the traceback of an error."""

# Name, help and import path; a name of two words is a command of a group. Modules are imported when they are used.
_GROUPS = {
    "data": "Look at data before training on it.",
    "select": "Choose among scored responses: demonstrations or pairs to train on.",
    "constitution": "Align by principles: critique, revision, and judgement by a constitution.",
    "values": "Several values: what choices go by, and models between them.",
    "world": "The embedded world, Tidewater.",
}
_COMMANDS = (
    ("quickstart", "accord.cli.quickstart:quickstart", "The whole loop on the embedded world, in minutes, offline."),
    ("train", "accord.cli.train:app", "Train a model on your data: sft, dpo, kto, a reward model and others."),
    ("data check", "accord.cli.data:check", "What is in a file of feedback, and every problem with its line."),
    ("advise", "accord.cli.advise:advise", "Which objective fits a file of feedback, why, and the command to run."),
    ("memory", "accord.cli.memory:memory", "What memory and time a training takes, told from the configuration."),
    ("sample", "accord.cli.sample:sample", "Answer prompts with a model."),
    ("verify", "accord.cli.verify:verify", "Score responses with verifiers and other rewards."),
    ("reward", "accord.cli.reward:reward", "Score responses with a reward model, or with an ensemble of several."),
    ("judge", "accord.cli.judge:judge", "Have responses compared by a model, a reward or a rule, and audit the judge."),
    ("constitution revise", "accord.cli.constitution:revise", "Answers criticised by principles and rewritten."),
    (
        "evaluate",
        "accord.cli.evaluate:evaluate",
        "Measure a model on suites, beside degenerate models, with intervals.",
    ),
    (
        "constitution compare",
        "accord.cli.constitution:compare",
        "Which labels flip when a constitution is edited, what each principle does, where they conflict.",
    ),
    ("constitution train", "accord.cli.constitution:train", "Constitutional AI end to end: SL-CAI, then RL-CAI."),
    ("in-context", "accord.cli.in_context:in_context", "Answer prompts as demonstrations suggest, without training."),
    ("select best-of-n", "accord.cli.select:best_of_n", "The best of each prompt's responses, to imitate with sft."),
    ("select raft", "accord.cli.select:raft", "The best share of all responses, or all above a score, to imitate."),
    ("select rs-dpo", "accord.cli.select:rs_dpo", "Pairs of responses whose scores differ enough, to train dpo on."),
    ("soup", "accord.cli.soup:soup", "One model from several that were fine-tuned from one start: their mean."),
    ("values fit", "accord.cli.values:fit", "What several values weigh in people's choices, by group of annotators."),
    ("values front", "accord.cli.values:front", "Models and their soups by several values: the front, and its volume."),
    (
        "compare",
        "accord.cli.compare:compare",
        "Whether models are better or worse than the first: one page, one verdict.",
    ),
    ("report", "accord.cli.report:report", "A run, or several side by side, as a page: the verdict and its reasons."),
    ("diffusion", "accord.cli.diffusion:diffusion", "Align diffusion models of points and drawings, and show it."),
    ("world build", "accord.cli.world:build", "Train the embedded world's base model from its seed."),
    ("world online", "accord.cli.world:online", "Policy-gradient methods on the world, over seeds: a table."),
    ("world feedback", "accord.cli.world:feedback", "AI feedback by the base: its audit, and what it teaches."),
    ("world constitution", "accord.cli.world:constitution", "The base aligned by a constitution alone: a page."),
    ("world reward", "accord.cli.world:reward", "Reward models and ensembles against the oracle: a table."),
    ("world groups", "accord.cli.world:groups", "What annotator groups prefer, from a few answers: a page."),
    ("world guides", "accord.cli.world:guides", "What a guide, a teacher and a soup of models are worth: a page."),
    (
        "world values",
        "accord.cli.world:values",
        "Several values: learned from choices, trained, mixed, guiding: a page.",
    ),
    ("world compare", "accord.cli.world:compare", "Every objective from one start on the same preferences: a table."),
    ("world constrain", "accord.cli.world:constrain", "Train under constraints, and find a hidden one: a page."),
)


def build_app() -> App:
    """The application with its commands registered by import path: each is imported when it is first used."""
    app = App(
        name="accord",
        help=_HELP,
        help_format="plaintext",
        version=accord.__version__,
        print_error=False,
        exit_on_error=False,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    groups: dict[str, App] = {}
    for place, (name, target, text) in enumerate(_COMMANDS):
        group, _, command = name.rpartition(" ")
        if group and group not in groups:
            groups[group] = App(name=group, help=_GROUPS[group], version_flags=(), sort_key=place)
            app.command(groups[group])
        groups.get(group, app).command(target, name=command, help=text, sort_key=place)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code.

    0 is success, 1 a defect or a gate that refused, 2 a mistake that the user can mend, 128 + n an end by signal n.
    """
    tokens, debug = _without_debug(sys.argv[1:] if arguments is None else arguments)
    try:
        code = build_app()(tokens)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except (AccordError, CycloptsError) as error:
        if debug:
            traceback.print_exc()
        _say(_sentence(error))
        return 2
    except Interrupted as stop:
        _say(str(stop))
        return 128 + stop.signal
    except KeyboardInterrupt:
        _say("interrupted.")
        return 130
    except BrokenPipeError:
        # The reader of the pipe has left. What is still buffered goes nowhere, or the interpreter complains at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception:
        traceback.print_exc()
        _say(DEFECT)
        return 1


def _say(sentence: str) -> None:
    """One line on standard error, in which nothing can steer the terminal."""
    from accord.data.show import printable

    sys.stderr.write(f"accord: {printable(' '.join(sentence.split())).plain}\n")


def _sentence(error: AccordError | CycloptsError) -> str:
    """What a mistake on the command line is called; the parser's own words, but where they mislead."""
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return f"{' '.join(error.unused_tokens)!r} is not expected here; --help shows the usage."
    if isinstance(error, UnknownCommandError) and error.unused_tokens and error.unused_tokens[0].startswith("-"):
        return f"Unknown option {error.unused_tokens[0]!r}; --help shows the usage."
    return str(error)


def _without_debug(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """The arguments without `--debug`, and whether it was there; what follows `--` is not looked at."""
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    flags = [argument for argument in arguments[:end] if argument != "--debug"]
    return [*flags, *arguments[end:]], len(flags) < end
