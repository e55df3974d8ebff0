"""Demonstrations in the context of a model that is not trained: what they raise is better than what it says alone."""

import pytest

from accord.data.select import best_of_n
from accord.policy.load import load_policy
from accord.policy.sample import Sampling
from accord.recipes.in_context import Demonstrations, answer_in_context
from accord.recipes.world_evaluation import LONGEST_ANSWER, TEMPERATURE, answer, evaluate
from accord.world.base import BASE
from accord.world.cases import distinct_cases
from accord.world.corpus import demonstrations
from accord.world.oracle import judge
from accord.world.town import draw_town


@pytest.mark.learning
def test_answers_in_context_score_higher_than_the_models_own() -> None:
    town, policy = draw_town(0), load_policy(BASE)
    held_out = distinct_cases(town, "test", 300, seed=0)
    good = Demonstrations(list(demonstrations(town, 300, seed=0, flawed=0.0)), policy)
    sampling = Sampling(temperature=TEMPERATURE, max_tokens=LONGEST_ANSWER, seed=0)
    groups = [case.group() for case in held_out]
    scored = answer_in_context(policy, groups, good, shots=1, candidates=8, sampling=sampling)
    chosen = [judge(best) for best in map(best_of_n, scored) if best is not None]
    gold = evaluate(held_out, answer(policy, held_out, seed=0), chosen).comparison("gold")
    assert gold.verdict == "better"
    assert gold.difference.mean > 0.05
