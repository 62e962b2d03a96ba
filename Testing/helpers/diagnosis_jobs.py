"""What the tests of diagnosis_job share."""

import numpy as np
import slicer
import vtk

from MedLLMSegLib import UserError
from MedLLMSegLib.worker.protocol import Event
from MedLLMSegLib.worker.tasks import Tasks, library_engine
from Testing.helpers.task_progress import Listener


class LibraryClient:
    """A worker in this process: its real tasks, all at once in one poll. hold: it stays in
    "load" until that is False.
    """

    def __init__(self):
        self.tasks, self.open, self.requests, self.cancelled, self.hold = (
            Tasks(library_engine()),
            {},
            [],
            [],
            False,
        )

    def submit(self, do, **fields):
        self.requests.append((do, fields))
        self.open[len(self.requests)] = (do, fields)
        return len(self.requests)

    def cancel(self, number):
        self.cancelled.append(number)

    def close(self):
        pass

    def poll(self):
        return [event for number in list(self.open) for event in self._go_on(number)]

    def _go_on(self, number):
        if self.hold and number not in self.cancelled:
            return [Event(number, "progress", stage="load", fraction=0.2)]
        do, fields = self.open.pop(number)
        if number in self.cancelled:
            return [Event(number, "error", kind="cancelled")]
        events = []
        try:
            answer = getattr(self.tasks, do)(
                fields,
                Listener(
                    lambda stage, fraction: events.append(
                        Event(number, "progress", stage=stage, fraction=fraction)
                    )
                ),
            )
        except UserError as error:
            return [Event(number, "error", kind="user", message=str(error))]
        return [*events, Event(number, "result", **answer)]


def load_as_slicer(path, name="chest"):
    """As Slicer's DICOM and Volumes modules load a file."""
    return slicer.modules.volumes.logic().AddArchetypeVolume(str(path), name, 0)


def table_columns(table):
    found = table.GetTable()
    return {
        found.GetColumnName(c): [
            found.GetValue(r, c).ToString() if c == 0 else found.GetValue(r, c).ToDouble()
            for r in range(found.GetNumberOfRows())
        ]
        for c in range(found.GetNumberOfColumns())
    }


def ijk_matrix(node):
    found = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(found)
    return found


def assert_same_diagnosis(table, heat, wanted):
    got = table_columns(table)
    assert got["class"] == list(wanted.probabilities)
    np.testing.assert_allclose(got["probability"], list(wanted.probabilities.values()), atol=1e-6)
    np.testing.assert_allclose(slicer.util.arrayFromVolume(heat), wanted.heat_map.array, atol=1e-5)
