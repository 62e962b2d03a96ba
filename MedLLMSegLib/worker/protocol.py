"""The messages between the worker and the program it works for: one JSON object a line, ASCII only
(JSON's escapes keep every path, even one that is not valid UTF-8). Arrays travel beside it, in
files (`array_files`).

Requests go to the worker's stdin. Each has an "id" and a "do":

    segment   volume: a folder of `save_volume`; output: a folder to be made; model, device, side,
              probabilities, uncertainty, augment, precision, engine, structures (a list)
              and with_model (an id or folder) as for `MedLLMSegLib.segment`
              -> result: folder, for `load_segmentation`
    explain   volume, output, model, device as for segment; structure as for
              `MedLLMSegLib.explain`
              -> result: folder, for `load_explanation`
    diagnose  image: a file's path, or volumes: folders of `save_volume` in order, with view and
              modality where they are known (for a model of several channels a file's path is
              accepted too, null for a missing channel, and modality is a list); output: a folder
              to be made; lungs: a file or folder of a mask; model, device, window, record and
              heat_map as for `MedLLMSegLib.diagnose`
              -> result: folder, for `load_diagnosis`
    train     request: the fields of `training.segmenter.request.TrainRequest`; device;
              output: the run's folder
              -> result: bundle
    ping      -> result: pid, version, devices
    cancel    stops the request of that id
    quit      stops all work and ends the process

Answers come from its stdout. Each has the request's "id" and an "event":

    hello     once, with id null: pid (a launcher's may differ), protocol (its version)
    progress  stage, fraction (0 to 1), seconds_left (or null), history (a training's new rows),
              unit_s (the longest time between two looks for a cancel in this stage so far, or null)
    log       message: a text for the log, such as a training's plan
    result    the last answer to a request that succeeded
    error     the last answer to any other: message (one sentence for the user), details (for the
              log), kind ("user", "unexpected" or "cancelled")

Stages of segment: start (Python packages are loading), wait (for an earlier request), read, load
(the model), localize, segment (followed by a side, "in smaller tiles" or "on the CPU"), restore,
done, write. Of explain: start, wait, read, load, localize, segment, explain, done, write. Of
diagnose: start, wait, read, load, diagnose, done, write. Of train: a line of text that changes with
each step.

Importing this module is cheap: it needs neither numpy nor torch.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any

from MedLLMSegLib.core.json_text import parse_json
from MedLLMSegLib.core.types import Json

from .message_checks import check_answer

VERSION = 1
STOP_S = 1.5  # seconds that a worker has to end in when nobody wants anything of it any more
LONGEST_LINE = 1 << 20  # bytes; a longer line is not a message of ours
EVENTS = ("progress", "log", "result", "error")
FINAL = ("result", "error")  # each request ends with one of these


@dataclass(frozen=True)
class Event:
    """One answer to a request.

    id: of the request, as `WorkerClient.submit` returned it.
    event: "progress", "log", "result" or "error"; it decides which of the other fields are set.
    stage, fraction, seconds_left, history, unit_s: of a progress event. seconds_left is None while
        it is not known; history holds rows such as {"step", "loss"}; unit_s is the longest unit of
        work (`work_units`) of the stage, None while none was measured.
    message: of a log event its text, of an error one sentence for the user ("" if cancelled).
    details, kind: of an error. kind is "user", "unexpected" or "cancelled".
    folder, bundle: of a result. folder for segment and diagnose, bundle for train.
    data: the whole answer.
    """

    id: int
    event: str
    stage: str = ""
    fraction: float = 0.0
    seconds_left: float | None = None
    history: tuple[Json, ...] = ()
    unit_s: float | None = None
    message: str = ""
    details: str = ""
    kind: str = ""
    folder: str | None = None
    bundle: str | None = None
    data: Json = field(default_factory=dict)

    @property
    def final(self) -> bool:
        """Whether this is the request's last event."""
        return self.event in FINAL

    @classmethod
    def from_message(cls, message: Json) -> Event:
        """The event of one answer. Raises KeyError for a message that is not an answer, and
        ValueError for one whose fields have other types.
        """
        check_answer(message)
        fields: dict[str, Any] = {name: message[name] for name in _PLAIN_FIELDS if name in message}
        history = tuple(message.get("history", ()))
        return cls(message["id"], message["event"], history=history, data=message, **fields)


_PLAIN_FIELDS = (
    "stage",
    "fraction",
    "seconds_left",
    "unit_s",
    "message",
    "details",
    "kind",
    "folder",
    "bundle",
)


def encode(message: Json) -> bytes:
    """A message as one line. Paths become text; TypeError for anything else JSON cannot hold."""
    return json.dumps(message, default=os.fspath).encode("ascii") + b"\n"


def decode(line: bytes) -> Json:
    """The message of one line. ValueError if the line is not a JSON object."""
    message = parse_json(line.decode("ascii"))  # UnicodeDecodeError is a ValueError
    if not isinstance(message, dict):
        raise ValueError(f"a {type(message).__name__} is not a message")
    return message
