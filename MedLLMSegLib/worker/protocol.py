"""What the worker and the program it works for say to each other: one JSON object a line, arrays
beside it in files.

Requests, on the worker's stdin, each with an "id" and what to "do":

    segment   volume: folder of `save_volume`, output: folder to be made; model, device, side,
    probabilities, uncertainty,
              augment as for `MedLLMSegLib.segment`              -> result: folder, to be read by
              `load_segmentation`
    train     request: fields of `training.request.TrainRequest`, device, output: the run's folder
    -> result: bundle diagnose  image: a file's path, or volumes: folders of `save_volume` in order
    (with view and modality where they are
              known; of channels a file's path will do, too, null for a missing one, and modality is
              a list), output: folder to be made; model, device, lungs (a file or folder of a mask),
              window, record, heat_map as for `MedLLMSegLib.diagnose`                             ->
              result: folder, to be read by `load_diagnosis`
    ping      -> result: pid, version, devices cancel    gives up the request of that id
    quit      stops working and ends the process

Answers, on its stdout, each with the request's "id" and an "event":

    hello     once, with id null: the process's pid (its launcher's may be another) progress  stage,
    fraction (0 to 1), seconds_left (or null), history (rows of a training since the last one) log
    message: a text for the log, such as a training's plan result    once at the end, or instead of
    it error     message (one sentence for the user), details (for the log), kind "user",
    "unexpected" or "cancelled"

Stages of segment: start (Python packages are being loaded), wait (for the request before this one),
read, load (the model), localize, segment (with a side, or "in smaller tiles", or "on the CPU"
behind it), restore, done, write. Of diagnose: start, wait, read, load, diagnose, done, write. Of
train: a line of text that changes with each step.

Lines are ASCII (JSON's escapes keep every path, even one that is no valid UTF-8). This file is
light: numpy and the library's images are imported when volumes are read or written.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedLLMSegLib.core.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from MedLLMSegLib.core.segmentation import Segmentation
    from MedLLMSegLib.core.volume import Volume
    from MedLLMSegLib.diagnosis.result import Diagnosis

VERSION = 1
STOP_S = 1.5  # so long a request may go on after it was cancelled; then its process is killed
LONGEST = 1 << 20  # bytes of a line; longer ones are no message of ours
EVENTS = ("progress", "log", "result", "error")
FINAL = ("result", "error")  # each request ends with one of these


@dataclass(frozen=True)
class Event:
    """One answer to a request.

    id: of the request, as `WorkerClient.submit` returned it. event: "progress", "log", "result" or
    "error". progress: stage, fraction (0 to 1), seconds_left (None: not known yet), history (rows
    such as {"step", "loss"}). log: message. error: message (one sentence for the user; "" if
    cancelled), details, kind ("user", "unexpected", "cancelled"). result: folder (segment,
    diagnose) or bundle (train). data: everything that was answered.
    """

    id: int
    event: str
    stage: str = ""
    fraction: float = 0.0
    seconds_left: float | None = None
    history: tuple[dict, ...] = ()
    message: str = ""
    details: str = ""
    kind: str = ""
    folder: str | None = None
    bundle: str | None = None
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def final(self) -> bool:
        """Whether this is the request's last event."""
        return self.event in FINAL

    @classmethod
    def from_message(cls, message: dict) -> Event:
        """An event as the worker wrote it. Raises KeyError for a message that is none."""
        known = (
            "stage",
            "fraction",
            "seconds_left",
            "message",
            "details",
            "kind",
            "folder",
            "bundle",
        )
        return cls(
            message["id"],
            message["event"],
            history=tuple(message.get("history", ())),
            data=message,
            **{name: message[name] for name in known if name in message},
        )


def encode(message: dict) -> bytes:
    """One line. Paths become text; anything else that JSON does not know is a TypeError."""
    return json.dumps(message, default=os.fspath).encode("ascii") + b"\n"


def decode(line: bytes) -> dict:
    """The message of one line; ValueError for anything that is none."""
    try:
        message = json.loads(line.decode("ascii"))  # a UnicodeDecodeError is a ValueError
    except RecursionError as error:
        raise ValueError("too deep to be a message") from error
    if not isinstance(message, dict):
        raise ValueError(f"a {type(message).__name__} is no message")
    return message


def save_volume(volume: Volume, folder) -> Path:
    """Write a volume as array.npy and volume.json into a folder, which is made; nothing is rounded
    or converted.

    The array is copied while this runs; it may be a view of memory that changes afterwards.
    `UserError` if it cannot be written.
    """
    import numpy as np

    folder, array = Path(folder), np.asanyarray(volume.array)
    if array.dtype.hasobject:
        raise UserError(
            f'"{volume.name}" holds {array.dtype} values, and plain grey values are needed; '
            "convert it to a scalar volume."
        )
    about = {
        "ijk_to_ras": np.asarray(volume.ijk_to_ras, float).tolist(),
        "name": volume.name,
        "tags": {key: float(value) for key, value in volume.tags.items()},
    }
    _write(folder, "volume.json", about, array=array)
    return folder


def load_volume(folder) -> Volume:
    """What `save_volume` wrote. `UserError` if it is not there or damaged."""
    import numpy as np

    from MedLLMSegLib.core.volume import Volume

    about, array = _read(folder, "volume.json"), _array(folder)
    try:
        return Volume(array, np.array(about["ijk_to_ras"], float), about["name"], about["tags"])
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(folder) from error


def save_segmentation(segmentation: Segmentation, folder) -> Path:
    """Write all that a run returned: segmentation.json, and a volume each in labels,
    probabilities and uncertainty.
    """
    folder, confidence = Path(folder), segmentation.confidence.items()
    _write(
        folder,
        "segmentation.json",
        {
            "structures": [s.to_dict() for s in segmentation.structures],
            "notes": list(segmentation.notes),
            "confidence": [
                [int(label), None if value != value else float(value)]
                for label, value in confidence
            ],  # NaN: no voxels
            "model": segmentation.model,
            "seconds": float(segmentation.seconds),
        },
    )
    for name in ("labels", "probabilities", "uncertainty"):
        volume = getattr(segmentation, name)
        if volume is not None:
            save_volume(volume, folder / name)
    return folder


def load_segmentation(folder) -> Segmentation:
    """What `save_segmentation` wrote. `UserError` if it is not there or damaged."""
    from MedLLMSegLib.core.segmentation import Segmentation, Structure

    about = _read(folder, "segmentation.json")
    maps = {
        name: load_volume(path) if (path := Path(folder) / name).is_dir() else None
        for name in ("probabilities", "uncertainty")
    }
    try:
        return Segmentation(
            load_volume(Path(folder) / "labels"),
            tuple(Structure.from_dict(s) for s in about["structures"]),
            {
                label: float("nan") if value is None else value
                for label, value in about["confidence"]
            },
            notes=tuple(about["notes"]),
            model=about["model"],
            seconds=about["seconds"],
            **maps,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(folder) from error


def save_diagnosis(diagnosis: Diagnosis, folder) -> Path:
    """Write what a diagnosis found: diagnosis.json, and its heat map as a volume in heat_map;
    the image itself is not kept.
    """
    names = (
        "probabilities",
        "answer",
        "threshold",
        "confidence",
        "heat_class",
        "shown_slice",
        "notes",
        "model",
        "seconds",
    )
    folder = Path(folder)
    _write(folder, "diagnosis.json", {name: getattr(diagnosis, name) for name in names})
    if diagnosis.heat_map is not None:
        save_volume(diagnosis.heat_map, folder / "heat_map")
    return folder


def load_diagnosis(folder) -> Diagnosis:
    """What `save_diagnosis` wrote; its image and shown are None. `UserError` if it is not there
    or damaged.
    """
    from MedLLMSegLib.diagnosis.result import Diagnosis

    about, path = _read(folder, "diagnosis.json"), Path(folder) / "heat_map"
    try:
        return Diagnosis(
            **{**about, "notes": tuple(about["notes"])},
            heat_map=load_volume(path) if path.is_dir() else None,
            image=None,
            shown=None,
        )
    except (KeyError, TypeError) as error:
        raise _damaged(folder) from error


def _write(folder: Path, name: str, about: dict, array: np.ndarray | None = None) -> None:
    """Not by `safe_files.atomic_write`: nobody reads before the answer says that all is there, and
    waiting for the disk is slow.
    """
    from MedLLMSegLib.core.safe_files import make_folder, write_error

    make_folder(folder)
    try:
        if array is not None:
            import numpy as np

            np.save(folder / "array.npy", array, allow_pickle=False)
        (folder / name).write_text(json.dumps(about), encoding="utf-8")
    except OSError as error:
        raise write_error(folder / name, error) from error


def _read(folder, name: str) -> dict:
    try:
        return json.loads((Path(folder) / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(folder) from error


def _array(folder) -> np.ndarray:
    import numpy as np

    try:
        return np.load(Path(folder) / "array.npy", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(folder) from error


def _damaged(folder) -> UserError:
    return UserError(
        f'The files in "{folder}" are missing or damaged; check the space on that disk and try'
        " again."
    )
