"""One run of the logic, as its callers see it, and how its steps are written.

The steps of a job are a generator on the main thread, the only one that may touch MRML nodes. It
yields whenever it has to wait; `job_runner.JobRunner` takes it on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.worker.protocol import Event

RUNNING = ("running", "cancelling")
Steps = Generator[None, None, Any]


class WorkerFailed(Exception):
    """The worker failed unexpectedly. args: a sentence for the user, details for the log."""


def failure(event: Event) -> Exception:
    """What an event "error" of the worker stands for."""
    if event.kind == "cancelled":
        return Cancelled()
    if event.kind == "user":
        return UserError(event.message)
    return WorkerFailed(event.message, event.details)


class NodeRemoved(Exception):
    """A node that a job needs has left the scene: the user deleted it, or closed the scene."""


@dataclass(frozen=True, eq=False)
class ScanOfBatch:
    """What became of one scan of several.

    name: the scan's. segmentationNode: None if it failed; then message says why, and details hold
    the traceback of what nobody expected. rows, notes: as of a `Job`. light: "" where nothing is
    known of it.
    """

    name: str
    segmentationNode: Any = None
    message: str = ""
    details: str = ""
    rows: tuple = ()
    light: str = ""
    notes: tuple[str, ...] = ()

    @property
    def succeeded(self) -> bool:
        return self.segmentationNode is not None

    @property
    def note(self) -> str:
        """Why it failed, or what is to be said of it."""
        return " ".join(filter(None, (self.message, *self.notes)))


@dataclass(eq=False)
class Job:
    """One run; only the job runner changes it.

    state: "running", "cancelling", "done", "failed" or "cancelled".
    message: one sentence for the user, "" if there is nothing to say. details: more for the log.
    stage, fraction (0 to 1), secondsLeft (None: not known): the progress.
    needsScene: closing the scene makes the job pointless; a training no longer needs the scene once
        its cases are written.

    Of a segmentation: segmentationNode, uncertaintyNode (None unless asked for), rows (structure's
    name, volume in mL, mean confidence or None), volumetry (a `Volumetry`; of a model of the whole
    brain), quality (a `ScanQuality`; None where nothing is known of it), notes (sentences),
    sentences (the result in words), drawnBy (the model's id), inserted (names of the rows that a
    second model drew inside the first one's structures). Of a sequence: itemRows (index value ->
    rows), their means as rows, and tableNode, which holds the volumes in each image; of a heart
    also heart (a `HeartFunction`) and heartNode, the table of its figures. Of several scans:
    planned (how many), scans (what became of those that are done), batchNode (the table of all of
    them); all else is of the first that succeeded.

    Of an explanation: segmentationNode, evidenceNode, structure (its name), notes.

    Of a diagnosis: tableNode, heatMapNode (or None), diagnosis (a `Diagnosis` without its maps),
    rows (class, probability, threshold or None, whether it is the answer), notes.

    Of a training: history (rows such as {"step", "loss"} or {"step", "val_dice"}), model (the new
    `ModelEntry`), kept (the folder that a later training resumes from, with copies of the scans; ""
    if nothing is kept).
    """

    kind: str = "segment"
    state: str = "running"
    message: str = ""
    details: str = ""
    stage: str = ""
    fraction: float = 0.0
    secondsLeft: float | None = None
    needsScene: bool = True
    segmentationNode: Any = None
    uncertaintyNode: Any = None
    rows: tuple = ()
    volumetry: Any = None
    quality: Any = None
    notes: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()
    drawnBy: str = ""
    inserted: tuple[str, ...] = ()
    evidenceNode: Any = None
    structure: str = ""
    itemRows: dict[str, tuple] = field(default_factory=dict)
    tableNode: Any = None
    heart: Any = None
    heartNode: Any = None
    planned: int = 0
    scans: tuple[ScanOfBatch, ...] = ()
    batchNode: Any = None
    heatMapNode: Any = None
    diagnosis: Any = None
    history: list[dict] = field(default_factory=list)
    model: Any = None
    kept: str = ""
    error: BaseException | None = None
    onProgress: Callable | None = field(default=None, repr=False)
    onDone: Callable | None = field(default=None, repr=False)
    onHistory: Callable | None = field(default=None, repr=False)

    @property
    def running(self) -> bool:
        return self.state in RUNNING
