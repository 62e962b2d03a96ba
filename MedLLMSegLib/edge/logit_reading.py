"""How the outputs of an exported network are read: `segmentation.scores.Reading`, in numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
SMALLEST = np.float32(1e-12)


@dataclass(frozen=True)
class LogitReading:
    """classes: background included; the first outputs. temperature: by which their logits are
    divided. paired: for each class whether it has a left and a right side, which one more output
    tells apart; None for a network without that output.

    The *number* of a winner is its class, plus `classes` for the right side of a paired one.
    """

    classes: int
    temperature: float = 1.0
    paired: tuple[bool, ...] | None = None

    def winners(self, logits: Floats) -> NDArray[np.uint8]:
        """Logits [outputs, ...] -> numbers [...]."""
        winner: NDArray[np.uint8] = logits[: self.classes].argmax(axis=0).astype(np.uint8)
        if self.paired is None:
            return winner
        return self._with_side(winner, logits[self.classes] > 0)

    def values_in_place(self, logits: Floats) -> Floats:
        """Logits [outputs, k, j, i] -> what may be interpolated, in their place: the probabilities
        of the classes, and with sides that of a paired structure of the right side.
        """
        classes = logits[: self.classes]
        classes -= classes.max(axis=0)
        if self.temperature != 1.0:
            classes /= np.float32(self.temperature)
        np.exp(classes, out=classes)
        classes /= classes.sum(axis=0)
        if self.paired is not None:
            side = logits[self.classes]
            with np.errstate(over="ignore"):  # exp of a large number is inf, and 1 / inf is 0
                side[:] = self._paired_share(classes) / (1 + np.exp(-side))
        return logits

    def winners_of_values(self, values: Floats) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
        """Interpolated values [outputs, ...] -> numbers and the class's probability [...]."""
        classes = values[: self.classes]
        winner: NDArray[np.uint8] = classes.argmax(axis=0).astype(np.uint8)
        certainty = classes.max(axis=0).astype(np.float16)
        if self.paired is None:
            return winner, certainty
        right = values[self.classes] > self._paired_share(classes) / 2
        return self._with_side(winner, right), certainty

    def _paired_share(self, probabilities: Floats) -> Floats:
        share: Floats = probabilities[np.array(self.paired)].sum(axis=0)
        return share

    def _with_side(self, winner: NDArray[np.uint8], right: NDArray[np.bool_]) -> NDArray[np.uint8]:
        paired = np.array(self.paired)[winner]
        numbers: NDArray[np.uint8] = winner + (right & paired).astype(np.uint8) * np.uint8(
            self.classes
        )
        return numbers
