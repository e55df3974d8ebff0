"""Constitutions as files, the forms in which models are asked, and what is read of their answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.chat import Reply
from accord.errors import ConfigError
from accord.feedback.constitution import Constitution, load_constitution, load_form
from accord.feedback.constitution.constitution import SHIPPED as FILES
from accord.feedback.constitution.constitution import WHOLE, Example
from accord.feedback.constitution.forms import SHIPPED as FORMS
from accord.feedback.constitution.forms import AnyForm, with_examples
from accord.feedback.judge.principles import Principle, read_principles
from accord.record import Message
from accord.world.phrases import PRINCIPLES

CONVERSATION = (Message("user", "Translate this: the word\n\nas {request} it stands"),)
KIND = Principle("kind", "Insult nobody.")


@pytest.mark.parametrize("path", sorted(FILES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_constitution_that_ships_serves_judges_critics_and_revisers(path: Path) -> None:
    constitution = load_constitution(path.stem)
    assert read_principles(path) == constitution.principles, "a judge reads the same file"
    assert load_form(constitution.form).choices
    assert len(constitution.principles) >= 5


def test_the_worlds_constitution_has_the_worlds_wording() -> None:
    assert {one.name: one.text for one in load_constitution("tidewater").principles} == dict(PRINCIPLES)


def test_all_that_a_file_says_is_read_and_tells_constitutions_apart(tmp_path: Path) -> None:
    file = tmp_path / "house.toml"
    text = (
        'name = "House"\nform = "turns"\n[[principles]]\nname = "kind"\ntext = "Insult nobody."\nweight = 2\n'
        'critique = "Who is hurt?"\nrevision = "Be kind."\nchoice = "It is kinder."\n'
        '[[examples]]\nprompt = "?"\nresponse = "No!"\ncritique = "Rude."\nrevision = "No."\n'
    )
    file.write_text(text)
    read = load_constitution(file)
    principle = Principle("kind", "Insult nobody.", 2.0, "Who is hurt?", "Be kind.", "It is kinder.")
    assert read == Constitution("House", (principle,), (Example("?", "No!", "Rude.", "No."),), "turns")
    assert principle.standard == "It is kinder."
    file.write_text(text.replace("weight = 2", "weight = 3"))
    assert load_constitution(file).fingerprint != read.fingerprint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[principles]]\nname = "a"\ntext = "b"\n\n[[principles]]\nname = "a"\ntext = "c"', r"mine.toml:5.*'a' twice"),
        ('[[principles]]\nname = "a"\ntext = "b"\nweight = 0', r"mine.toml:1.*'a' has the weight 0"),
        ('\n\n[[principles]]\nname = "a"\ntxt = "b"', r"mine.toml:3.*'txt' of the principle 'a'. Did you mean 'text'"),
        ('[[principles]]\nname = "a"\ntext = 3', r"mine.toml:1.*of the principle 'a' is wrong"),
        ('[[principles]]\nname = "a"\ntext = " "', r"mine.toml:1.*no name or no text"),
        ('name = "x"\n[[principles]\nname = "a"', r"mine.toml:2.*is not TOML"),
        ('nam = "x"', "unknown key 'nam'. Did you mean 'name'"),
        ('name = "x"', "has no principle"),
        ('principles = "be good"', "no list of tables"),
        ('[[principles]]\nname = "a"\ntext = "b"\n[[examples]]\nprompt = "p"', r"mine.toml:4.*missing required field"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_constitution(file)


def test_a_constitution_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"no such constitution.*default, tidewater"):
        load_constitution("defalt")


def test_released_requests_are_read_without_their_labels(tmp_path: Path) -> None:
    file = tmp_path / "released.json"
    pair = {
        "prompt": ["\n\nCritiqueRequest: Name what hurts: words, acts.\n\nCritique:"],
        "edit_request": "\n\nRevisionRequest: Say it kindly.\n\nRevision:",
    }
    file.write_text(json.dumps({"one": pair}))
    (principle,) = load_constitution(file).principles
    assert (principle.name, principle.critique, principle.revision) == (
        "one",
        "Name what hurts: words, acts.",
        "Say it kindly.",
    )
    assert "Name what hurts" in principle.standard
    file.write_text(json.dumps({"constitutions": [{"critic": "Name what hurts.", "revision": "Say it kindly."}]}))
    assert [one.revision for one in load_constitution(file).principles] == ["Say it kindly."]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"one": {"prompt": ["a"]}}', r"entry 'one': has no text under 'edit_request'"),
        ('{"one": {"prompt": ["CritiqueRequest:"], "edit_request": "b"}}', r"entry 'one': is empty under 'prompt'"),
        ('{"one":\n 3', r"released.json:2: is not JSON"),
        ('{"one": "a"}', r"entry 'one': is no pair"),
        ("[1]", "holds no pairs"),
        ("{}", "has no principle"),
    ],
)
def test_a_released_file_of_another_shape_is_explained(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "released.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_constitution(file)


@pytest.mark.parametrize("path", sorted(FORMS.glob("*.toml")), ids=lambda path: path.stem)
def test_no_part_of_a_prompt_is_cut_whatever_is_in_it(path: Path) -> None:
    """A colon, a blank line or the name of a slot in the prompt or the answer stays where it is."""
    form = load_form(path.stem)
    answer = "First: {critique}\n\nSecond: <x>"
    for asked in (
        form.ask_critique(CONVERSATION, answer, KIND),
        form.ask_revision(CONVERSATION, answer, KIND, "Bad: {response}"),
        form.ask_verdict(CONVERSATION, answer, KIND),
    ):
        said = "\n".join(message.content for message in asked)
        assert CONVERSATION[0].content in said
        assert answer in said
        assert asked[-1].role == "user"
    assert "Bad: {response}" in "\n".join(
        one.content for one in form.ask_revision(CONVERSATION, answer, KIND, "Bad: {response}")
    )


def test_a_principles_own_words_take_the_place_of_the_forms() -> None:
    own = Principle("kind", "Insult nobody.", critique="Who is hurt?", revision="Be kind.")
    for form in map(load_form, ("plain", "turns")):
        assert "Who is hurt?" in form.ask_critique(CONVERSATION, "No.", own)[-1].content
        assert "Be kind." in form.ask_revision(CONVERSATION, "No.", own, "Rude.")[-1].content
        assert "Insult nobody." in form.ask_critique(CONVERSATION, "No.", KIND)[-1].content
    both = Constitution("x", (own, Principle("true", "Say what is so."))).whole()
    assert (both.name, both.text) == (WHOLE, "1. Insult nobody.\n2. Say what is so.")
    assert both.critique == "1. Who is hurt?\n2. Say what is so."
    assert Constitution("x", (KIND,)).whole().critique == ""


def test_examples_are_shown_as_turns_behind_the_system_line() -> None:
    form, example = load_form("plain"), Example("Why?", "Fool.", "An insult.", "Because.")
    asked = with_examples(form.ask_revision(CONVERSATION, "No.", KIND, "Short."), form, (example,), KIND, revised=True)
    assert [message.role for message in asked] == ["system", "user", "assistant", "user"]
    assert form.revised(Reply(asked[2].content)) == "Because.", "the example is what would be read"
    critique = with_examples(form.ask_critique(CONVERSATION, "No.", KIND), form, (example,), KIND, revised=False)
    assert critique[2].content == "An insult."


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("<revision>\nYes: indeed.\n\nAnd more.\n</revision>", "Yes: indeed.\n\nAnd more."),
        ("Here is the revised answer:\n<revision>Yes.</revision>\nI hope it helps!", "Yes."),
        ("Yes.", None),
        ("<revision>Yes.", None),
        ("<revision> </revision>", None),
        ("</revision>Yes.<revision>", None),
        ("<revision>Yes.</revision> or <revision>No.</revision>", None),
    ],
)
def test_only_the_revised_answer_is_taken_or_nothing(said: str, read: str | None) -> None:
    assert load_form("plain").revised(Reply(said)) == read
    assert load_form("plain").revised(Reply(said, finished=False)) is None, "what was cut off is no revision"


@given(st.text(max_size=80))
def test_nothing_without_its_marks_is_a_revision(said: str) -> None:
    for form in map(load_form, ("plain", "tidewater")):
        if form.opening not in said:
            assert form.revised(Reply(said)) is None
        body = said.replace(form.opening, "").replace(form.closing or form.opening, "").strip()
        assert form.revised(Reply(form.written(body))) == (body or None)


def test_scores_are_probabilities_or_words_and_never_guessed() -> None:
    form = load_form("plain")
    assert form.score(Reply("yes", probabilities=(0.8, 0.2))) == 0.8
    assert [form.score(Reply(said)) for said in ("Yes.", "no", "yes and no", "")] == [1.0, 0.0, None, None]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("{response}", "the answer"), "has no slot {response}"),
        (("{conversation}", "{talk}"), "unknown slot {talk}"),
        (('opening = "<revision>"', 'opening = ""'), "opening is empty"),
        (('kind = "document"', 'kind = "letter"'), "letter"),
        (("choices", "chioces"), "chioces"),
    ],
)
def test_a_form_that_cannot_be_used_is_explained(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text((FORMS / "plain.toml").read_text().replace(*change))
    with pytest.raises(ConfigError, match=message) as caught:
        load_form(str(file))
    assert "mine.toml" in str(caught.value)


def test_forms_have_one_interface() -> None:
    forms: list[AnyForm] = [load_form(name) for name in ("plain", "turns", "tidewater")]
    assert len({form.fingerprint for form in forms}) == 3
    with pytest.raises(ConfigError, match="plain, tidewater, turns"):
        load_form("plian")
