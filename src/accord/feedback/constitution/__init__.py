"""Constitutions: principles in a file, by which models criticise and revise answers.

What is asked, and how answers are read, is in `forms`; who criticises, and how several critics become one score, in
`critics`; the rounds of critique and revision in `revise`; critics as a judge of pairs in `judge`. Elsewhere these
parts are known as classes:

ConstitutionalAI             `revise` with one critic and reviser; `demonstrations` and `preferences` are its data
MultiAgentConstitutionalAI   `revise` with several critics, weights and `aggregate`
IterativeConstitutionalAI    `revise` with `tolerance` and `patience`
ConstitutionalAITrainer      `accord.recipes.constitution_train`
evaluate_alignment           `satisfied`, for each principle
"""

from accord.feedback.constitution.constitution import Constitution, load_constitution
from accord.feedback.constitution.critics import Critic
from accord.feedback.constitution.data import demonstrations, preferences, satisfied
from accord.feedback.constitution.forms import load_form
from accord.feedback.constitution.judge import ConstitutionJudge
from accord.feedback.constitution.revise import revise
from accord.feedback.constitution.trace import Revised, Rules, Trace

__all__ = [
    "Constitution",
    "ConstitutionJudge",
    "Critic",
    "Revised",
    "Rules",
    "Trace",
    "demonstrations",
    "load_constitution",
    "load_form",
    "preferences",
    "revise",
    "satisfied",
]
