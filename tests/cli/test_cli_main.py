"""What becomes of errors, whatever command raised them."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
from cyclopts import App

from accord.cli import app as cli
from accord.errors import AccordError, DataError, Interrupted


def app_that(action: Callable[[], object]) -> Callable[[], App]:
    """A stand-in for `build_app` whose one command, `act`, does `action`."""

    def build() -> App:
        app = App(
            print_error=False, exit_on_error=False, suppress_keyboard_interrupt=False, result_action="return_value"
        )
        app.command(action, name="act")
        return app

    return build


def raising(error: BaseException) -> Callable[[], object]:
    def action() -> None:
        raise error

    return action


def run(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object], *arguments: str) -> int:
    monkeypatch.setattr(cli, "build_app", app_that(action))
    return cli.main(["act", *arguments])


def test_success_is_0(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, lambda: None) == 0


def test_a_command_may_choose_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, lambda: 3) == 3


def test_an_error_for_the_user(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    error = DataError("column `chosen` is missing", path="prefs.jsonl", line=7, mend="Add it.")
    assert run(monkeypatch, raising(error)) == 2
    assert capsys.readouterr().err == "accord: prefs.jsonl:7: column `chosen` is missing. Add it.\n"


def test_an_error_cannot_steer_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, raising(AccordError("row says \x1b[2J\u202e[red]boo[/red]\nsecond line"))) == 2
    shown = capsys.readouterr().err
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "[red]boo[/red] second line" in shown
    assert shown.count("\n") == 1


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, raising(RuntimeError("a surprise"))) == 1
    shown = capsys.readouterr().err
    assert "RuntimeError: a surprise" in shown
    assert shown.rstrip().endswith(cli.DEFECT)


def test_an_interruption_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "accord: interrupted.\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_checkpointed_stop(
    number: int, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, raising(Interrupted(number, "stopped after step 3 of 9")), "--debug") == code
    assert capsys.readouterr().err == "accord: stopped after step 3 of 9\n"


def test_debug_is_taken_from_anywhere_but_after_the_delimiter() -> None:
    assert cli._without_debug(["a", "--debug", "b"]) == (["a", "b"], True)
    assert cli._without_debug(["a", "--", "--debug"]) == (["a", "--", "--debug"], False)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["trian"], 'Unknown command "trian". Did you mean "train"?'),
        (["--versoin"], "Unknown option '--versoin'"),
        (["train", "ddpoo"], "no objective is named 'ddpoo'. Did you mean 'dpo'?"),
        (["train", "dpo", "--stepz", "3"], "Unknown option: --stepz. Did you mean --steps?"),
        (["train", "dpo", "--steps", "many"], 'Invalid value for --steps: unable to convert "many" into int'),
        (["train", "dpo", "--schedule", "cosin"], 'Did you mean "cosine"?'),
        (["train", "dpo", "stray"], "'stray' is not expected here"),
        (["train", "dpo", "--model"], "--model requires an argument"),
        (["train", "dpo", "--data", "d"], "--model: required, and not given"),
        (["train", "dpo", "--model", "m"], "--data: required, and not given"),
        (["train", "--model", "m"], "accord train: the objective is missing. Name one of sft, "),
        (["train", "dpo", "--model", "m", "--data", "d", "--beta", "0"], "--beta: 0.0 is out of range"),
        (["train", "sft", "--beta", "1"], "Unknown option: --beta"),
        (["train", "no_such_module:loss"], "cannot import 'no_such_module'"),
    ],
)
def test_wrong_usage(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    shown = capsys.readouterr().err
    assert sentence in shown
    assert shown.startswith("accord: ")
    assert shown.count("\n") == 1
