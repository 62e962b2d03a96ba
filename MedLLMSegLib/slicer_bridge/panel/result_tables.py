"""The result tables of the segmentations in the scene: of their segments now, and of those that
Restore would bring back.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class ResultTable(NamedTuple):
    """rows: (structure, volume in mL, mean confidence or None). volumetry: a `Volumetry`, or
    None. sentences: of a run of this session. model: that drew it, "" where that is not known.
    inserted: names of the rows that another one drew.
    """

    rows: tuple
    volumetry: Any = None
    sentences: tuple[str, ...] = ()
    model: str = ""
    inserted: tuple[str, ...] = ()


class ResultTables:
    """What runs of this session have found in each segmentation node, and what was there before.

    None stands for segments that no run of this session has made: they are measured when they are
    shown.
    """

    def __init__(self):
        self._now: dict[str, ResultTable | None] = {}
        self._before: dict[str, ResultTable | None] = {}

    def take(self, node, table: ResultTable) -> None:
        """A run has written this result into a node."""
        name = node.GetID()
        self._before[name], self._now[name] = self._now.get(name), table

    def model_of(self, node) -> str:
        """The model that drew what a node shows now; "" where no run of this session did."""
        table = self._now.get(node.GetID()) if node is not None else None
        return table.model if table is not None else ""

    def restored(self, node) -> ResultTable:
        """The table of a node whose earlier segments were brought back; they change places."""
        name = node.GetID()
        self._before[name], self._now[name] = self._now.get(name), self._before.get(name)
        return self._now[name] or _measured(node)


def _measured(node) -> ResultTable:
    from MedLLMSegLib.slicer_bridge.scene.segments import measured_rows

    return ResultTable(measured_rows(node.GetSegmentation()))
