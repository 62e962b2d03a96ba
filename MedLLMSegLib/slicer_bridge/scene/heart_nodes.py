"""What the scene holds of a heart's function: a table, and a chart of the volumes over the beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from MedLLMSegLib.core.segmentation import Structure
from MedLLMSegLib.metrics.heart_function import HeartFunction

from .heart_chart import Curve, chart_of, curves_of_heart, curves_shown, remove_chart, show_chart
from .heart_table import HEART, make_heart_table
from .sequence_tables import TableState
from .volumes_table import VOLUMES


@dataclass(frozen=True, eq=False)
class HeartDrawing:
    """A heart's function, ready for the scene. curves: of the chart."""

    function: HeartFunction
    curves: tuple[Curve, ...]


def draw_heart(function: HeartFunction, structures: Sequence[Structure]) -> HeartDrawing:
    """structures: of the model that outlined the heart."""
    return HeartDrawing(function, curves_of_heart(structures))


def show_heart(segmentations, heart: HeartDrawing | None, neighbour):
    """Give a sequence of segmentations, which has its table of volumes, the heart's nodes; returns
    the table node.

    heart: None takes those of an earlier run away, as they are about other outlines; returns None.
    neighbour: the node that they are put next to.
    """
    if heart is None:
        remove_heart(segmentations)
        return None
    table = HEART.show(segmentations, make_heart_table(heart.function), neighbour)
    show_chart(segmentations, heart.curves, neighbour)
    return table


def remove_heart(segmentations) -> None:
    """Take the heart's nodes, if there are any, out of the scene."""
    remove_chart(segmentations)
    HEART.remove(segmentations)


class HeartState:
    """The nodes of a heart's function as they are now; for Restore."""

    def __init__(self, segmentations):
        self.segmentations = segmentations
        self.table, self.curves = TableState(HEART, segmentations), curves_shown(segmentations)

    def put_back(self, neighbour) -> None:
        """neighbour: as for `show_heart`. The table of volumes has been put back already.

        What the user has deleted meanwhile is not brought back.
        """
        had_table = HEART.of(self.segmentations) is not None
        self.table.put_back(neighbour)
        has_table = HEART.of(self.segmentations) is not None
        has_chart = chart_of(self.segmentations) is not None
        if not has_table or VOLUMES.of(self.segmentations) is None:
            remove_chart(self.segmentations)
        elif self.curves and (has_chart or not had_table):
            show_chart(self.segmentations, self.curves, neighbour)
