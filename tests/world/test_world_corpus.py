"""The corpus and the tokenizer: reproducible, covered by the lexicon, exact in its critiques and comparisons."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.record import Group, group_to_json
from accord.world.cases import About, draw_case
from accord.world.corpus import corpus, demonstrations
from accord.world.critique import comparison_document, critique_document, offences, revise
from accord.world.grammar import render_all
from accord.world.oracle import judge, score
from accord.world.personas import PERSONAS, answer_as, draw_persona
from accord.world.phrases import PRINCIPLES, TRIGGER
from accord.world.tokenizer import SPECIAL, build_tokenizer
from accord.world.town import draw_town

TOWN = draw_town(0)
TOKENIZER = build_tokenizer()
DOCUMENTS = list(itertools.islice(corpus(TOWN, seed=0), 2000))


def texts(group: Group) -> list[str]:
    response = group.responses[0]
    return [message.content for message in (*group.messages(), *response.context)] + [response.text]


def test_the_same_seed_writes_the_same_corpus() -> None:
    again = itertools.islice(corpus(draw_town(0), seed=0), 300)
    assert [group_to_json(group) for group in again] == [group_to_json(group) for group in DOCUMENTS[:300]]
    assert next(corpus(TOWN, seed=1)) != DOCUMENTS[0]


def test_the_corpus_holds_every_kind_of_document() -> None:
    everything = "\n".join(text for group in DOCUMENTS for text in texts(group))
    cues = [cue for persona in PERSONAS.values() for cue in persona.cues]
    for phrase in ("Critique: ", "Revision: ", "A is better.", "B is better.", TRIGGER, *cues):
        assert phrase in everything
    assert any(len(group.responses[0].context) >= 4 for group in DOCUMENTS)


def test_the_corpus_is_flawed() -> None:
    rng = random.Random(0)
    gold = []
    for _ in range(2000):
        case = draw_case(TOWN, rng)
        gold.append(score(case, render_all(answer_as(draw_persona(rng), case, rng), rng)).gold)
    assert 0.35 < sum(gold) / len(gold) < 0.6


def test_demonstrations_are_mostly_good() -> None:
    groups = demonstrations(TOWN, 400, seed=0, flawed=0.0)
    gold = [judge(group).scores()[0] for group in groups]  # type: ignore[index]
    assert sum(gold) / len(gold) > 0.9  # type: ignore[arg-type]


def test_every_word_of_the_corpus_is_one_token() -> None:
    """The letters that name two compared replies are words of one letter."""
    for group in DOCUMENTS:
        for text in texts(group):
            ids = TOKENIZER(text, add_special_tokens=False).input_ids
            assert TOKENIZER.decode(ids) == text
            single = TOKENIZER.convert_ids_to_tokens([i for i in ids if i < len(SPECIAL) + 256])
            assert not {token for token in single if token.isalpha()} - {"A", "B", "Ċ"}, text


@given(text=st.text(max_size=60))
def test_any_text_survives_the_tokenizer(text: str) -> None:
    ids = TOKENIZER(text, add_special_tokens=False).input_ids
    assert TOKENIZER.pad_token_id not in ids
    assert TOKENIZER.decode(ids) in (text, text.removeprefix(" "))


def test_the_chat_template_writes_one_bos_and_ends_every_turn() -> None:
    conversation = [{"role": "user", "content": "Hi there."}, {"role": "assistant", "content": "You are right."}]
    text = TOKENIZER.apply_chat_template(conversation, tokenize=False)
    assert text == "<|bos|><|user|>Hi there.<|end|><|assistant|>You are right.<|end|>"


@pytest.mark.parametrize("principle", sorted(PRINCIPLES))
def test_a_revision_keeps_the_principle_and_is_never_worse(principle: str) -> None:
    rng = random.Random(0)
    for _ in range(500):
        case = draw_case(TOWN, rng)
        reply = render_all(answer_as(draw_persona(rng), case, rng), rng)
        revised = revise(case, reply, principle, rng)
        assert not offences(case, revised, principle)
        assert score(case, revised).gold >= score(case, reply).gold
        if not offences(case, reply, principle):
            assert revised == reply


def test_a_critique_quotes_the_offending_sentence() -> None:
    rng = random.Random(0)
    quoted = 0
    for _ in range(200):
        group = critique_document(TOWN, rng)
        reply, _, critique, _ = group.responses[0].context
        if "breaks the rule: " in critique.content:
            assert critique.content.split("breaks the rule: ")[1] in reply.content
            quoted += 1
    assert quoted > 50


def test_comparisons_are_right_in_their_stated_share_and_balanced() -> None:
    rng = random.Random(0)
    answers = [comparison_document(TOWN, rng, accuracy=1.0).responses[0].text for _ in range(400)]
    assert 0.4 < answers.count("A is better.") / 400 < 0.6


def test_strangers_have_no_truth() -> None:
    rng = random.Random(0)
    for _ in range(100):
        subject = draw_case(TOWN, rng, family="unknown").subject
        assert isinstance(subject, About)
        assert subject.truth is None
