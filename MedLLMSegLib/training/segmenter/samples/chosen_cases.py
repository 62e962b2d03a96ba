"""Which cases a training takes, and whether they are those that it began with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.data import (
    Case,
    CaseSet,
    folds,
    patients_counted,
    read_cases,
    split_cases,
    with_channels,
)
from MedLLMSegLib.training.segmenter.request import TrainRequest


@dataclass(frozen=True)
class ChosenCases:
    """The cases of a training: to train on, to choose the weights by, and to test on."""

    case_set: CaseSet
    train: Sequence[Case]
    val: Sequence[Case]
    test: Sequence[Case]

    def summary(self) -> str:
        """For the screen: how many cases serve for what, and how many are not used."""
        cases = self.case_set.cases
        groups = len({case.group for case in cases})
        names = ", ".join(case.id for case in self.val[:5])
        names += " ..." if len(self.val) > 5 else ""
        left = len(cases) - len(self.train) - len(self.val) - len(self.test)
        assumption = self.case_set.assumption
        counted = patients_counted(assumption, len(cases), groups)
        channels = ", ".join(self.case_set.channels)
        whose = f" of {groups} groups (patients)" if counted else ""
        return (
            f"{len(cases)} labelled cases{whose}: {len(self.train)} to train"
            f" on, {len(self.val)} to choose by ({names}), {len(self.test)} to test on"
            + (f", {left} not used" if left else "")
            + (f"; the images of each: {channels}" if channels else "")
            + (f". {assumption}" if assumption else "")
        )


def choose_cases(request: TrainRequest) -> ChosenCases:
    """Read the labelled cases that a request names, and split them."""
    names = dict(enumerate(request.structures, 1)) if request.structures else None
    case_set = with_channels(read_cases(request.source, names), request.channels)
    if request.folds is None or request.fold is None:
        splits = split_cases(case_set, request.seed)
    else:
        splits = folds(case_set, request.folds, request.seed)[request.fold]
    train = draw_cases(splits["train"], request.cases, request.seed)
    return ChosenCases(case_set, train, splits["val"], splits["test"])


def refuse_other_cases(plan: Json, output: Path, chosen: ChosenCases) -> None:
    """Raise `UserError` where the cases are not those that the training in ``output`` began with.

    A case that weights were chosen by must never be trained on later, nor the other way round, and
    a label must mean what it meant. plan: of that training.
    """
    _refuse_other_labels(plan, output, chosen.case_set.labels)
    for part, cases in (("train", chosen.train), ("val", chosen.val)):
        before, now = (plan.get("cases") or {}).get(part), [case.id for case in cases]
        if before is not None and before != now:
            example = (sorted(set(before) ^ set(now)) or now)[0]
            raise UserError(
                f'"{output}" holds a training on other data: the {part} cases differ, for example'
                f' "{example}"; choose another output folder, or bring back the cases it began'
                " with."
            )
        _refuse_changed_files(plan.get("contents") or {}, output, cases)


def _refuse_other_labels(plan: Json, output: Path, labels: dict[int, str]) -> None:
    before = (plan.get("fingerprint") or {}).get("labels")
    if before is None or {int(value): name for value, name in before.items()} == labels:
        return
    raise UserError(
        f'"{output}" holds a training of the structures {", ".join(before.values())}, and the data'
        f" now have {', '.join(labels.values())}; choose another output folder, or bring back the"
        " names."
    )


def _refuse_changed_files(digests: dict[str, str], output: Path, cases: Sequence[Case]) -> None:
    """digests: case -> sha256, of which trainings of older versions have none."""
    for case in cases:
        if case.id in digests and digests[case.id] != case.sha256():
            raise UserError(
                f'The image or label map of "{case.id}" is not the one that the training in'
                f' "{output}" began with; choose another output folder to train on what it is now.'
            )


def draw_cases(cases, count: int | None, seed: int) -> list:
    """``count`` cases in whole groups drawn at random (the last group cut if it holds more); all
    for None.
    """
    if count is None:
        return list(cases)
    if count > len(cases):
        raise UserError(
            f"--cases {count} asks for more than the {len(cases)} training cases there are."
        )
    groups = sorted({case.group for case in cases})
    order = [groups[n] for n in np.random.default_rng(seed).permutation(len(groups))]
    return [case for group in order for case in cases if case.group == group][:count]
