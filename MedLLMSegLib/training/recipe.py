"""What a training of the one loop brings along: its samples, its loss, its score and its rate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.utils.data import Dataset

from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.core.types import Array

from .measure import DICE, Measure

EXAMPLES = 4  # val images of which pictures are drawn


@dataclass
class ValidationScores:
    """The score of each val image, NaN where nothing is there to be found, and some images with
    their label maps.

    examples: ({"id", "image": (1, K, J, I), "label": (1, K, J, I)}, labels (K, J, I)).
    """

    means: list[float] = field(default_factory=list)
    examples: list[tuple[dict, Array]] = field(default_factory=list)

    def add(self, score: float, case: dict, labels: Array) -> None:
        """A val image's score and the label map that the network gave it."""
        self.means.append(score)
        if len(self.examples) < EXAMPLES:
            self.examples.append((case, labels))

    @property
    def finite(self) -> list[float]:
        """The scores that are numbers."""
        return [mean for mean in self.means if np.isfinite(mean)]


@dataclass(frozen=True)
class Moment:
    """Where a training stands before an update.

    step: updates made. warm_step: those since the optimiser was new, which is later where a
    training starts from a small checkpoint. done: of the budget, from 0 to 1.
    """

    step: int
    warm_step: int
    done: float


class Recipe(ABC):
    """What differs between trainings; the `Trainer` does the rest.

    samples: sample number -> tensors and the text "case", a function of the number alone; those of
    a step come as one batch. tolerated: steps in a row without a finite loss or gradients that are
    passed over; one more ends the training. on_device: whether the samples are made where the
    network is. whole_batches: whether each sample is the batch of a step, with "case" a list of
    texts. measure: what `score` gives.
    """

    samples: Dataset[dict[str, Any]]
    tolerated: int = 0
    on_device: bool = False
    whole_batches: bool = False
    measure: Measure = DICE

    @abstractmethod
    def loss(self, network: nn.Module, batch: dict[str, Any], step: int) -> Tensor:
        """The network on a batch -> scalar, a mean over its samples."""

    @abstractmethod
    def score(self, network: nn.Module, share: slice, progress: Progress) -> ValidationScores:
        """How good the network is, from 0 to 1, on this process's share of the val images.

        progress: called before each image with (a few words, fraction); may raise `Cancelled`.
        """

    @abstractmethod
    def rate(self, moment: Moment) -> float:
        """Factor on the peak learning rate."""

    def seeded_by(self, step: int) -> int | None:
        """The number that the draws of dropout in a step follow from; None where it goes on drawing
        where the step before ended.
        """
        return step
