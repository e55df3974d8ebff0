"""The audit of judges: planted biases are exposed, an honest judge is not accused, the command writes it all down."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from accord.chat import Reply, Request
from accord.chat.spec import ScriptChat
from accord.cli.app import main
from accord.feedback.judge.spec import chat_judge
from accord.recipes.judge import judge_groups
from accord.recipes.judge_audit import JudgeAudit, concerns
from accord.record import Feedback, Group, Preference, Response, read_groups, write_groups

WORDS = ["ebb", "flood", "gull", "harbour", "kelp", "lamp", "mast", "net", "oar", "pier", "quay", "rope", "sail"]


def labelled(count: int = 200, *, seed: int = 0) -> list[Group]:
    """Pairs of which people prefer the one that says "true"; length has nothing to do with it."""
    draw = random.Random(seed)
    groups = []
    for number in range(count):
        texts = [" ".join(draw.choices(WORDS, k=draw.randint(2, 12))) for _ in range(2)]
        better = draw.randrange(2)
        texts[better] += " true"
        texts[1 - better] += " lies"
        authors = draw.sample(["us", "them"], 2)
        responses = tuple(Response(texts[place], meta={"model": authors[place]}) for place in range(2))
        human = Feedback("human", preferences=(Preference(better, 1 - better),))
        groups.append(Group(f"question {number}", responses, (human,)))
    return groups


def shown(request: Request) -> tuple[str, str]:
    """The two answers in a request, in the order shown."""
    text = request.messages[-1].content
    first, second = (text.partition(f"<answer {letter}>\n")[2].partition("\n</answer")[0] for letter in "AB")
    return first, second


def judged_by(say: Callable[[str, str], float], *, own: str | None = None, unread: float = 0.0) -> JudgeAudit:
    def reply(request: Request) -> Reply:
        first, second = shown(request)
        if random.Random(first + second).random() < unread:
            return Reply("who knows")
        p = say(first, second)
        return Reply("A" if p > 0.5 else "B", probabilities=(p, 1 - p))

    groups = labelled()
    judge = chat_judge(ScriptChat(reply, name="scripted"), name="scripted")
    return judge_groups(groups, judge, own=own).audit


def honest(first: str, second: str) -> float:
    return 0.9 if "true" in first else 0.1


def test_an_honest_judge_is_not_accused() -> None:
    found = judged_by(honest)
    assert concerns(found) == []
    assert found.accuracy is not None
    assert found.kappa is not None
    assert found.first_shown is not None
    assert found.accuracy.mean == 1.0
    assert found.accuracy.low < 1.0
    assert found.kappa.mean == pytest.approx(1.0)
    assert found.first_shown.mean == pytest.approx(0.5)
    assert found.controls["random"].lead.low > 0.3


@pytest.mark.parametrize(
    ("say", "accusation"),
    [
        (lambda first, second: 0.95, "it prefers what stands first"),
        (lambda first, second: 0.95, "the winner changes with the order"),
        (lambda first, second: 0.9 if len(first) > len(second) else 0.1, "it prefers longer answers"),
        (
            lambda first, second: 0.9 if len(first) > len(second) else 0.1,
            "not clearly better than the control 'longest'",
        ),
        (lambda first, second: 0.9 if first < second else 0.1, "cannot be told from a coin"),
    ],
)
def test_a_biased_judge_is_exposed(say: Callable[[str, str], float], accusation: str) -> None:
    assert any(accusation in one for one in concerns(judged_by(say))), concerns(judged_by(say))


def test_a_subtle_bias_for_length_shows_beside_good_agreement() -> None:
    found = judged_by(
        lambda first, second: (
            0.5
            + 0.3 * ("true" in first)
            - 0.3 * ("true" in second)
            + 0.1 * (len(first) > len(second))
            - 0.1 * (len(first) < len(second))
        )
    )
    assert found.accuracy is not None
    assert found.accuracy.mean == 1.0
    assert [one for one in concerns(found) if "longer answers, of the same worth by gold" in one]


def test_a_judge_that_prefers_its_own_answers_is_exposed() -> None:
    """The judge knows its own hand: here, by the texts that "us" wrote."""
    mine = {response.text for group in labelled() for response in group.responses if response.meta["model"] == "us"}
    biased = judged_by(lambda first, second: 0.9 if first in mine else 0.1, own="us")
    assert biased.self_preference is not None
    assert biased.self_preference.low > 0.2
    assert any("prefers the answers of us" in one for one in concerns(biased))
    fair = judged_by(honest, own="us")
    assert fair.self_preference is not None
    assert fair.self_preference.low <= 0 <= fair.self_preference.high


def test_answers_that_are_no_verdict_are_counted_and_never_an_a() -> None:
    found = judged_by(honest, unread=0.1)
    assert found.judged < found.pairs
    assert found.unread > 0
    assert found.accuracy is not None
    assert found.accuracy.mean == 1.0
    assert any("were no verdict" in one for one in concerns(found))


def test_an_audit_without_gold_says_so() -> None:
    groups = [Group(group.prompt, group.responses) for group in labelled(20)]
    found = judge_groups(groups, chat_judge(ScriptChat(lambda request: "A", name="a"), name="a")).audit
    assert found.accuracy is None
    assert found.consistency is not None
    assert found.consistency.mean == 0.0


def swapped(group: Group) -> Group:
    preferences = tuple(Preference(1 - one.better, 1 - one.worse) for one in group.preferences())
    return Group(group.prompt, group.responses[::-1], (Feedback("human", preferences=preferences),))


def test_the_order_of_the_file_plays_no_part() -> None:
    """All preferred answers first, as files of pairs have them: kappa and slopes are those of any other order."""

    def leaning(request: Request) -> Reply:
        first, _ = shown(request)
        p = 0.3 + 0.5 * ("true" in first) + 0.001 * len(first)
        return Reply("A", probabilities=(p, 1 - p))

    groups = labelled(60)
    ordered = [swapped(group) if next(group.preferences()).better else group for group in groups]
    judge = chat_judge(ScriptChat(leaning, name="x"), name="x")
    found = [judge_groups(one, judge).audit for one in (groups, ordered)]
    for name in ("accuracy", "kappa", "consistency", "first_shown", "length_slope", "length_slope_given_gold"):
        assert getattr(found[0], name).mean == pytest.approx(getattr(found[1], name).mean), name


def test_a_temperature_is_fitted_to_labels() -> None:
    """A judge that is right in three of four pairs and always almost sure must become less sure."""

    def overconfident(request: Request) -> Reply:
        first, second = shown(request)
        knows = random.Random(min(first, second)).random() < 0.75
        p = 0.99 if ("true" in first) == knows else 0.01
        return Reply("A", probabilities=(p, 1 - p))

    judge = chat_judge(ScriptChat(overconfident, name="sure"), name="sure")
    before = judge_groups(labelled(), judge)
    after = judge_groups(labelled(), judge, labelled=labelled(400, seed=1))
    assert before.audit.temperature is not None
    assert before.audit.temperature > 2
    assert any("too sure" in one for one in concerns(before.audit))
    assert after.temperature == pytest.approx(before.audit.temperature, rel=0.5)
    assert after.audit.ece is not None
    assert before.audit.ece is not None
    assert after.audit.ece < 0.3 * before.audit.ece


SCRIPT = """
import pathlib, time
def say(request):
    with open("asked.txt", "a") as file:
        file.write("x")
    if pathlib.Path("slow").exists():
        time.sleep(0.05)
    text = request.messages[-1].content
    return "A" if text.index("true") < text.index("lies") else "B"
"""


def test_the_command_writes_feedback_with_its_audit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "wise_judge.py").write_text(SCRIPT)
    write_groups("pairs.jsonl", labelled(20))
    command = ["judge", "--judge", "wise_judge:say", "--data", "pairs.jsonl", "--out", "judged.jsonl", "--audit"]
    command += ["--cache", "cache.sqlite", "--name", "wise", "--price-in", "1"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "40 asked, 0 known" in said
    assert "longest" in said
    judged = list(read_groups("judged.jsonl"))
    assert len(judged) == 20
    for group, before in zip(judged, labelled(20), strict=True):
        assert [one.name for one in group.feedback] == ["wise"]
        assert list(group.preferences()) == list(before.preferences())
        assert group.feedback[0].meta["audit"]["accuracy"][0] == 1.0
    written = json.loads(Path("judged.audit.json").read_text())
    assert written["judge"] == "wise"
    assert written["concerns"] == []
    assert main(command) == 0
    assert "0 asked, 40 known" in capsys.readouterr().out
    assert len(Path("asked.txt").read_text()) == 40


@pytest.mark.slow
def test_a_job_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "wise_judge.py").write_text(SCRIPT)
    (tmp_path / "slow").touch()
    write_groups(tmp_path / "pairs.jsonl", labelled(100))
    command = [sys.executable, "-m", "accord", "judge", "--judge", "wise_judge:say", "--data", "pairs.jsonl"]
    command += ["--out", "judged.jsonl", "--cache", "cache.sqlite"]
    running = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    asked = tmp_path / "asked.txt"
    while not asked.exists() or asked.stat().st_size < 100:
        assert running.poll() is None
        time.sleep(0.05)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    before = asked.stat().st_size
    (tmp_path / "slow").unlink()
    subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    assert asked.stat().st_size - before <= 200 - 64, "at most the part that was under way is asked again"
    assert len(list(read_groups(tmp_path / "judged.jsonl"))) == 100


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--data x.jsonl --out y.jsonl", "--judge: required"),
        ("--judge control:first --out y.jsonl", "--data: required"),
        ("--judge control:first --data x.jsonl", "--out, --audit: neither given"),
        ("--judge control:first --data x.jsonl --audit --pairs 0", "--pairs: must be 1 or more"),
    ],
)
def test_what_is_missing_is_said(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge", *words.split()]) == 2
    assert message in capsys.readouterr().err
