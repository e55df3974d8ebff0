"""The grammar reads back exactly what it writes, and nothing else."""

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from accord.world.cases import draw_case
from accord.world.grammar import CORE, Junk, Remark, parse, parse_sentence, render_all
from accord.world.personas import PERSONAS, answer_as
from accord.world.phrases import ADVICE, ANSWERS, CLAIMS, REFUSALS, REMARKS
from accord.world.town import draw_town

TOWN = draw_town(0)


@given(seed=st.integers(0, 2**32), persona=st.sampled_from(sorted(PERSONAS)))
def test_a_rendered_reply_parses_to_its_acts(seed: int, persona: str) -> None:
    rng = random.Random(seed)
    acts = answer_as(PERSONAS[persona], draw_case(TOWN, rng), rng)
    assert list(parse(render_all(acts, rng))) == acts


def test_every_form_belongs_to_one_act() -> None:
    slots = {"person": "Mira Stone", "value": "baker", "tool": "torch", "verb": "burn", "object": "an old log"}
    tables = [ADVICE, ANSWERS, REFUSALS, *CLAIMS.values(), *REMARKS.values()]
    forms = [form.format(**slots) for form in itertools.chain(*tables)]
    assert len(set(forms)) == len(forms)
    assert not any(isinstance(parse_sentence(form), Junk) for form in forms)
    for table in (ADVICE, ANSWERS, REFUSALS, *REMARKS.values()):
        assert len({parse_sentence(form.format(**slots)) for form in table}) == 1


@given(text=st.text(max_size=80))
def test_any_text_parses(text: str) -> None:
    for act in parse(text):
        assert isinstance(act, (Junk, Remark, *CORE))


def test_what_the_grammar_cannot_say_is_junk() -> None:
    assert parse("Mira Stone works as a baker. Hello") == (
        parse_sentence("Mira Stone works as a baker."),
        Junk("Hello"),
    )
    assert isinstance(parse_sentence("mira stone works as a baker."), Junk)
