"""Annotator groups as data: who is named, what share of a preference is whose, and held-out groups."""

import torch

from accord.record import Feedback, Group, Preference, Response
from accord.train.annotators import annotator_groups, annotator_of, annotator_tensor, describe


def pair(*feedback: Feedback, **meta: str) -> Group:
    return Group("p", (Response("a"), Response("b")), feedback, meta=dict(meta))


FIRST, SECOND = (Preference(0, 1),), (Preference(1, 0),)


def test_who_an_annotator_is() -> None:
    named = Feedback("human", "ann", FIRST)
    assert annotator_of(pair(named), named) == "ann"
    assert annotator_of(pair(named, group="north"), named) == "north"
    own = Feedback("human", "ann", FIRST, meta={"group": "south"})
    assert annotator_of(pair(own, group="north"), own) == "south"
    assert annotator_of(pair(Feedback("judge")), Feedback("judge")) == "judge"


def test_each_preference_is_shared_among_those_who_gave_it() -> None:
    groups = [
        pair(Feedback("human", "b", FIRST), Feedback("human", "a", FIRST), Feedback("human", "c", SECOND)),
        pair(Feedback("human", "new", FIRST)),
    ]
    assert annotator_groups(groups[:1]) == ("a", "b", "c")
    tensor = annotator_tensor(groups, 3, ("a", "b", "c"))
    assert tensor.shape == (2, 4, 3, 3)
    assert tensor[0, :, 0, 1].tolist() == [0.5, 0.5, 0.0, 0.0]
    assert tensor[0, :, 1, 0].tolist() == [0.0, 0.0, 1.0, 0.0]
    assert tensor[1, :, 0, 1].tolist() == [0.0, 0.0, 0.0, 1.0]
    assert torch.equal((tensor.sum(1) > 0).float(), tensor.sum(1))


def test_the_sentence_that_gives_groups_their_numbers() -> None:
    trained = [pair(Feedback("human", "b", FIRST)), pair(Feedback("human", "a", FIRST))]
    assert describe(trained, []) == "annotator groups: 0 is a, 1 is b"
    unseen = [pair(Feedback("human", "z", FIRST))]
    assert describe(trained, unseen) == "annotator groups: 0 is a, 1 is b; unseen in training: z"
