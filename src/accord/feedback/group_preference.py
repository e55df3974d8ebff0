"""What groups of people prefer: learned over many groups, predicted for a new one from a few of its answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.distance import jensenshannon
from torch import Tensor, nn

from accord.errors import DataError
from accord.feedback.group_network import GroupPredictor, group_likelihood, shares
from accord.record import Group


@dataclass(frozen=True)
class Answers:
    """What one group answered to questions, each with up to K options.

    Attributes:
        embedding: `[Q,K,D]` of question and option together.
        valid: `[Q,K]` whether there is such an option.
        preference: `[Q,K]` share of the group that prefers it; the valid ones sum to 1.
    """

    embedding: Tensor
    valid: Tensor
    preference: Tensor

    def __len__(self) -> int:
        return len(self.embedding)

    def __getitem__(self, index: Tensor | slice) -> Answers:
        return Answers(self.embedding[index], self.valid[index], self.preference[index])


def answers_of(groups: Sequence[Group], embedding: Tensor, valid: Tensor) -> dict[str, Answers]:
    """The answers of every annotator group that is named in the Feedback, by its name.

    Args:
        groups: questions; a Feedback whose `name` is an annotator group holds its shares as `distribution`.
        embedding: `[Q,K,D]` of their responses.
        valid: `[Q,K]`.

    Raises:
        DataError: no Feedback has both a name and a distribution.
    """
    rows: dict[str, tuple[list[int], list[Tensor]]] = {}
    for question, group in enumerate(groups):
        for feedback in group.feedback:
            if feedback.name is not None and feedback.distribution is not None:
                row = torch.zeros(valid.shape[1])
                row[: len(feedback.distribution)] = torch.tensor(feedback.distribution)
                index, preferences = rows.setdefault(feedback.name, ([], []))
                index.append(question)
                preferences.append(row)
    if not rows:
        raise DataError("no annotator group is named", mend="Give Feedback with a name and a distribution.")
    return {
        name: Answers(embedding[index], valid[index], torch.stack(preferences))
        for name, (index, preferences) in rows.items()
    }


def meta_train(
    network: GroupPredictor,
    groups: Sequence[Answers],
    *,
    generator: torch.Generator,
    steps: int = 1000,
    batch_size: int = 16,
    questions: int = 16,
    longest_context: int = 10,
    lr: float = 3e-4,
) -> list[float]:
    """Learn to predict a group's answers from some of its others, over groups and random splits of their questions.

    Groups that will be predicted must not be among `groups`: other questions of the same group give it away.

    Args:
        network: changed in place.
        groups: to learn from.
        generator: of groups, questions and splits.
        steps: of AdamW, with a cosine decay.
        batch_size: groups a step.
        questions: of each group a step, context and targets together.
        longest_context: how many of them are context at most; from 1 to that many, evenly.
        lr: highest learning rate.

    Returns:
        The loss of every step.

    Raises:
        DataError: a group has fewer than `questions` answers, or all of them may be context.
    """
    fewest = min(map(len, groups), default=0)
    if not 1 <= longest_context < questions <= fewest:
        mend = f"Have longest_context < questions <= {fewest}, the answers of the smallest group."
        raise DataError(f"cannot split {questions} questions after at most {longest_context}", mend=mend)
    network.standardise(
        _mean_and_spread(answers.embedding[answers.valid] for answers in groups),
        _mean_and_spread(answers.preference[answers.valid].unsqueeze(-1) for answers in groups),
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses = []
    for _ in range(steps):
        chosen = torch.randint(len(groups), (batch_size,), generator=generator).tolist()
        drawn = [groups[i][torch.randperm(len(groups[i]), generator=generator)[:questions]] for i in chosen]
        embedding, valid, preference = (
            torch.stack([getattr(answers, name) for answers in drawn]) for name in ("embedding", "valid", "preference")
        )
        given = int(torch.randint(1, longest_context + 1, (1,), generator=generator))
        logit, log_std = _predict(network, embedding, valid, preference, given)
        loss = group_likelihood(logit[:, given:], log_std[:, given:], preference[:, given:], valid[:, given:]).value()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def predict_logits(network: GroupPredictor, context: Answers, embedding: Tensor, valid: Tensor) -> Tensor:
    """Logits `[Q,K]` of what a group prefers among options that it has not seen.

    An option's logit depends on the context and on the option, and on no other option.

    Args:
        network: meta-trained.
        context: what the group answered.
        embedding: `[Q,K,D]` of the questions that are asked.
        valid: `[Q,K]`.

    Raises:
        DataError: there is no context.
    """
    if not len(context):
        raise DataError("a group is known by its answers, and there are none", mend="Give at least one.")
    known, asked = context.embedding[context.valid], embedding[valid]
    preference = torch.cat([context.preference[context.valid], torch.zeros(len(asked))])
    given = torch.arange(len(preference)) < len(known)
    logit, _ = network(torch.cat([known, asked])[None], preference[None], given[None])
    folded = torch.zeros(valid.shape)
    folded[valid] = logit[0, len(known) :]
    return folded


def predict(network: GroupPredictor, context: Answers, embedding: Tensor, valid: Tensor) -> Tensor:
    """Shares `[Q,K]` of what a group prefers; arguments as of `predict_logits`."""
    return shares(predict_logits(network, context, embedding, valid), valid)


def mean_of_groups(groups: Sequence[Answers]) -> Tensor:
    """Baseline: the mean share over groups that answered the same questions, `[Q,K]`."""
    return torch.stack([answers.preference for answers in groups]).mean(0)


def nearest_group(groups: Sequence[Answers], context: Answers, known: Sequence[Answers]) -> Answers:
    """Baseline: of `groups`, the one whose answers to the context's questions (`known`, in order) agree best."""
    agreement = [float(similarity(own.preference, context.preference).mean()) for own in known]
    return groups[int(np.argmax(agreement))]


def similarity(predicted: Tensor, preference: Tensor) -> Tensor:
    """How alike shares `[Q,K]` are, question by question: 1 less the Jensen-Shannon distance to base 2, `[Q]`."""
    distance = jensenshannon(predicted.double().numpy(), preference.double().numpy(), base=2, axis=-1)
    return torch.from_numpy(1 - np.nan_to_num(distance))  # rounding makes the root of a tiny negative number


def agrees(predicted: Tensor, preference: Tensor) -> Tensor:
    """Whether the option that is said to be preferred is one that the group prefers most, `[Q]` of 0.0 and 1.0."""
    said = preference.gather(-1, predicted.argmax(-1, keepdim=True))[:, 0]
    return (said >= preference.amax(-1) - 1e-6).double()


def _mean_and_spread(parts: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation `[D]` of all rows of `[N,D]` parts, of which one is held at a time."""
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for part in parts:
        rows = part.double()
        count, total, squares = count + len(rows), total + rows.sum(0), squares + rows.square().sum(0)
    mean = total / count
    return mean.float(), (squares / count - mean.square()).clamp_min(1e-12).sqrt().float()


def _predict(
    network: GroupPredictor, embedding: Tensor, valid: Tensor, preference: Tensor, given: int
) -> tuple[Tensor, Tensor]:
    """Logits and log standard deviations `[B,Q,K]` of groups whose first `given` questions are context."""
    context = valid.clone()
    context[:, given:] = False
    logit, log_std = network(embedding.flatten(1, 2), preference.flatten(1), context.flatten(1))
    return logit.view_as(preference), log_std.view_as(preference)
