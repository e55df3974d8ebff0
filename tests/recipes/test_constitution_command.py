"""`accord constitution`: what the commands write, from prompts as they are to files that training reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from accord.chat import Request
from accord.chat.usage import Usage
from accord.cli.app import main
from accord.data import read
from accord.errors import ConfigError
from accord.recipes.constitution_cast import Cast
from accord.record.adapt import adapt

HOUSE = '[[principles]]\nname = "kind"\ntext = "Insult nobody."\n[[principles]]\nname = "true"\ntext = "Be right."\n'


def talk(request: Request) -> str:
    """A script that answers, scores, criticises and revises by the form `plain`."""
    asked = request.messages[-1].content
    answer = asked.partition("<answer>\n")[2].partition("\n</answer>")[0]
    if request.choices:
        return "yes" if "!" in answer else "no"
    if "<critique>" in asked:
        return f"<revision>{answer}!</revision>"
    return "Rude." if "<answer>" in asked else f"I heard: {asked}"


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ACCORD_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    file = tmp_path / "house.toml"
    file.write_text(HOUSE)
    return file


def run(house: Path, data: Path, out: Path, *more: str) -> int:
    script = f"{Path(__file__).stem}:talk"
    return main(
        ["constitution", "revise", "--constitution", str(house), "--data", str(data), "--out", str(out),
         "--answerer", script, "--critic", script, "--cache", str(out.parent / "chat.sqlite"), *more]
    )  # fmt: skip


def test_prompts_go_through_whole_and_come_out_as_data_for_training(
    house: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Colons, blank lines and turns of a transcript are part of the prompt."""
    asked = "Translate this: the word\n\nas it stands: now"
    transcript = f"\n\nHuman: Hello: you\n\nAssistant: Hi.\n\nHuman: {asked}\n\nAssistant:"
    data, out = tmp_path / "red.jsonl", tmp_path / "out"
    rows = [{"prompt": asked}, {"chosen": f"{transcript} No.", "rejected": f"{transcript} Never."}]
    files = []
    for place, row in enumerate(rows):
        files.append(data.with_name(f"red-{place}.jsonl"))
        files[-1].write_text(json.dumps(row) + "\n")
    assert run(house, files[0], out, str(files[1]), "--rounds", "1") == 2, "data takes its files behind --data"
    capsys.readouterr()
    for file in files:
        assert run(house, file, out, "--rounds", "1") == 0
        (taught,) = read([str(out / "demonstrations.jsonl")]).groups
        assert taught.messages()[-1].content == asked
        assert taught.responses[0].text == f"I heard: {asked}!"
        (pair,) = read([str(out / "preferences.jsonl")]).groups
        assert adapt([pair], ("prefer",)).groups
        assert {(one.better, one.worse): one.weight > 0.5 for one in pair.preferences()}[1, 0]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["outcomes"]["taken"] == summary["changed"] == 1
    assert summary["principles"]["kind"]["after"]["mean"] == 1.0
    (trace,) = [json.loads(line) for line in (out / "trace.jsonl").read_text().splitlines()]
    assert trace["steps"][0]["critiques"] == {"test_constitution_command:talk": "Rude."}
    assert "Kept, by the critics" in capsys.readouterr().out


def test_the_same_command_asks_nothing_and_writes_the_same(
    house: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "red.jsonl"
    data.write_text('{"prompt": "Why?"}\n{"prompt": "When?"}\n')
    written = []
    for _ in range(2):
        assert run(house, data, tmp_path / "out", "--judge", "control:longest") == 0
        written.append({file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()})
    assert written[0] == written[1]
    assert "\n0 asked" in capsys.readouterr().out.rpartition("Kept, by the critics")[2]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--rounds", "0"], "--rounds: 0 is out of range"),
        (["--critic-weights", "1", "2"], "--critic-weights: do not fit"),
        (["--always", "--clean", "0.7"], "--clean"),
        (["--form", "plian"], "no form 'plian'"),
        (["--judge", "control:longst"], "Did you mean 'longest'"),
        (["--limit", "0"], "--limit"),
    ],
)
def test_mistakes_are_explained(
    house: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    data = tmp_path / "red.jsonl"
    data.write_text('{"prompt": "Why?"}\n')
    assert run(house, data, tmp_path / "out", *flags) == 2
    assert message in capsys.readouterr().err


def test_a_model_with_several_parts_is_opened_once_and_critics_are_told_apart(house: Path, tmp_path: Path) -> None:
    cast = Cast(cache=tmp_path / "chat.sqlite")
    script = f"{Path(__file__).stem}:talk"
    assert cast.chat(script, "--critic") is cast.chat(script, "--reviser")
    (critic,) = cast.critics([script], [2.0])
    assert (critic.chat, critic.weight) == (cast.chat(script, "--critic"), 2.0)
    with pytest.raises(ConfigError, match="--critic: required"):
        cast.critics([])
    assert cast.usage == Usage()


def test_two_constitutions_are_compared_on_the_command_line(
    house: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, script = tmp_path / "pairs.jsonl", f"{Path(__file__).stem}:talk"
    data.write_text('{"prompt": "Why?", "responses": [{"text": "Well!"}, {"text": "No"}]}\n')
    out = tmp_path / "found.json"
    common = ["--data", str(data), "--cache", str(tmp_path / "chat.sqlite"), "--out", str(out)]
    compare = ["constitution", "compare", str(house), "default", *common]
    assert main([*compare, "--judge", "critics", "--critic", script]) == 0
    assert json.loads(out.read_text())["flips"]["mean"] == 0.0
    assert "another winner" in capsys.readouterr().out
    assert main([*compare, "--judge", "control:first"]) == 2
    assert "says the same under every constitution" in capsys.readouterr().err
