"""Volumes and results as files: how arrays travel between the worker and its owner.

A volume is a folder with array.npy and volume.json; a result is a folder with a JSON file and a
volume for each of its maps. Nothing is rounded or converted, and nothing is pickled. The worker
maps a scan's file into its memory; the owner copies a result's, since its folder is removed then.

This module is light: numpy and the library's classes are imported when they are needed.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING

from MedLLMSegLib.core.domain_verdict import DomainVerdict
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.json_text import parse_json
from MedLLMSegLib.core.types import Array, Json, PathLike

if TYPE_CHECKING:
    from MedLLMSegLib.core.segmentation import Segmentation
    from MedLLMSegLib.core.volume import Volume
    from MedLLMSegLib.diagnosis.result import Diagnosis
    from MedLLMSegLib.segmentation.explanation.explain import Explanation

SEGMENTATION_MAPS = ("labels", "probabilities", "uncertainty")
DIAGNOSIS_FIELDS = (
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


def save_volume(volume: Volume, folder: PathLike) -> Path:
    """Write a volume into a folder, which is made if needed; returns the folder.

    The array is copied before this returns, so it may be a view of memory that changes later.
    `UserError` if the values are not numbers or cannot be written.
    """
    import numpy as np

    folder, array = Path(folder), np.asanyarray(volume.array)
    if array.dtype.hasobject:
        raise UserError(
            f'"{volume.name}" holds {array.dtype} values, and plain grey values are needed; '
            "convert it to a scalar volume."
        )
    header = {
        "ijk_to_ras": np.asarray(volume.ijk_to_ras, float).tolist(),
        "name": volume.name,
        "tags": {key: float(value) for key, value in volume.tags.items()},
        "shape": array.shape,
        "dtype": array.dtype.str,
        "quantity": asdict(volume.quantity),
    }
    _write(folder, "volume.json", header, array=array)
    return folder


def load_volume(folder: PathLike, mapped: bool = False) -> Volume:
    """Read what `save_volume` wrote. `UserError` if files are missing or damaged.

    mapped: voxels are read from the file when they are used, and cannot be written. The file must
    stay until the volume is no longer used: Windows does not remove it before.
    """
    import numpy as np

    from MedLLMSegLib.core.volume import Quantity, Volume

    header, array = _read_json(folder, "volume.json"), _read_array(folder, mapped)
    try:
        if (list(array.shape), array.dtype.str) != (header["shape"], header["dtype"]):
            raise ValueError(f"{array.dtype.str} {array.shape}")
        ijk_to_ras = np.array(header["ijk_to_ras"], float)
        quantity = Quantity(**header.get("quantity", {}))
        return Volume(array, ijk_to_ras, header["name"], header["tags"], quantity=quantity)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(folder) from error


def save_segmentation(segmentation: Segmentation, folder: PathLike) -> Path:
    """Write a segmentation: segmentation.json, and a volume each in labels, probabilities and
    uncertainty (those it has). Returns the folder.
    """
    folder, confidence = Path(folder), segmentation.confidence
    header = {
        "structures": [structure.to_dict() for structure in segmentation.structures],
        "notes": list(segmentation.notes),
        "confidence": [[int(label), _or_null(value)] for label, value in confidence.items()],
        "expected_dice": [
            [int(n), float(value)] for n, value in segmentation.expected_dice.items()
        ],
        "model": segmentation.model,
        "seconds": float(segmentation.seconds),
        "precision": segmentation.precision,
    }
    if segmentation.quality is not None:
        header["quality"] = segmentation.quality.to_dict()
    if segmentation.intracranial is not None:
        header["intracranial"] = asdict(segmentation.intracranial)
    if segmentation.domain is not None:
        header["domain"] = asdict(segmentation.domain)
    _write(folder, "segmentation.json", header)
    for name in SEGMENTATION_MAPS:
        volume = getattr(segmentation, name)
        if volume is not None:
            save_volume(volume, folder / name)
    return folder


def load_segmentation(folder: PathLike) -> Segmentation:
    """Read what `save_segmentation` wrote. `UserError` if files are missing or damaged."""
    from MedLLMSegLib.core.quality import ScanQuality
    from MedLLMSegLib.core.segmentation import IntracranialVolume, Segmentation, Structure

    header = _read_json(folder, "segmentation.json")
    probabilities, uncertainty = (
        load_volume(path) if (path := Path(folder) / name).is_dir() else None
        for name in ("probabilities", "uncertainty")
    )
    try:
        return Segmentation(
            load_volume(Path(folder) / "labels"),
            tuple(Structure.from_dict(structure) for structure in header["structures"]),
            {label: _or_nan(value) for label, value in header["confidence"]},
            expected_dice=dict(header["expected_dice"]),
            notes=tuple(header["notes"]),
            model=header["model"],
            seconds=header["seconds"],
            precision=header["precision"],
            probabilities=probabilities,
            uncertainty=uncertainty,
            quality=ScanQuality.from_dict(header["quality"]) if "quality" in header else None,
            intracranial=(
                IntracranialVolume(**header["intracranial"]) if "intracranial" in header else None
            ),
            domain=DomainVerdict(**header["domain"]) if "domain" in header else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(folder) from error


def _or_null(value: float) -> float | None:
    """JSON has no NaN, which the confidence of a structure without voxels is."""
    return None if math.isnan(value) else float(value)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def save_explanation(explanation: Explanation, folder: PathLike) -> Path:
    """Write an explanation: explanation.json, and its map as a volume in evidence. Returns the
    folder.
    """
    folder = Path(folder)
    header = {
        "structure": explanation.structure,
        "facts": explanation.facts(),
        "sentences": list(explanation.sentences()),
    }
    _write(folder, "explanation.json", header)
    save_volume(explanation.evidence, folder / "evidence")
    return folder


@dataclass(frozen=True, eq=False)
class ShownExplanation:
    """What is shown of an explanation. evidence: float32 [k, j, i], 0 to 1, on the scan's grid.
    facts: model and layer. sentences: what was measured of the map, and notes.
    """

    evidence: Volume
    structure: str
    facts: str
    sentences: tuple[str, ...]


def load_explanation(folder: PathLike) -> ShownExplanation:
    """Read what `save_explanation` wrote. `UserError` if files are missing or damaged."""
    header = _read_json(folder, "explanation.json")
    try:
        return ShownExplanation(
            load_volume(Path(folder) / "evidence"),
            str(header["structure"]),
            str(header["facts"]),
            tuple(map(str, header["sentences"])),
        )
    except (KeyError, TypeError) as error:
        raise _damaged(folder) from error


def save_diagnosis(diagnosis: Diagnosis, folder: PathLike) -> Path:
    """Write a diagnosis: diagnosis.json, and its heat map as a volume in heat_map. The image is
    not written. Returns the folder.
    """
    folder = Path(folder)
    header = {name: getattr(diagnosis, name) for name in DIAGNOSIS_FIELDS}
    header["domain"] = None if diagnosis.domain is None else asdict(diagnosis.domain)
    _write(folder, "diagnosis.json", header)
    if diagnosis.heat_map is not None:
        save_volume(diagnosis.heat_map, folder / "heat_map")
    return folder


def load_diagnosis(folder: PathLike) -> Diagnosis:
    """Read what `save_diagnosis` wrote; image and shown are None. `UserError` if files are missing
    or damaged.
    """
    from MedLLMSegLib.diagnosis.result import Diagnosis

    header, heat_folder = _read_json(folder, "diagnosis.json"), Path(folder) / "heat_map"
    try:
        domain = header.pop("domain", None)
        fields = {
            **header,
            "notes": tuple(header["notes"]),
            "domain": None if domain is None else DomainVerdict(**domain),
        }
        heat_map = load_volume(heat_folder) if heat_folder.is_dir() else None
        return Diagnosis(**fields, heat_map=heat_map, image=None, shown=None)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(folder) from error


def _write(folder: Path, name: str, header: Json, array: Array | None = None) -> None:
    """Write a JSON file and, if there is one, the array.

    `safe_files` is not used for them: nobody reads the files before the answer says that they are
    complete, and waiting for the disk is slow.
    """
    from MedLLMSegLib.core.safe_files import make_folder, write_error

    make_folder(folder)
    try:
        if array is not None:
            import numpy as np

            np.save(folder / "array.npy", array, allow_pickle=False)
        (folder / name).write_text(json.dumps(header), encoding="utf-8")
    except OSError as error:
        raise write_error(folder / name, error) from error


def _read_json(folder: PathLike, name: str) -> Json:
    try:
        header: Json = parse_json((Path(folder) / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(folder) from error
    return header


def _read_array(folder: PathLike, mapped: bool) -> Array:
    import numpy as np

    path = Path(folder) / "array.npy"
    try:
        array = np.lib.format.open_memmap(path, mode="r")  # refuses what would be unpickled
        # A file that is too short was refused already; one that is too long holds another array.
        if path.stat().st_size != array.offset + array.nbytes:
            raise ValueError("bytes after the last voxel")
        return np.asarray(array) if mapped else np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, TypeError, TokenError) as error:
        raise _damaged(folder) from error  # numpy parses the head of the file as Python


def _damaged(folder: PathLike) -> UserError:
    return UserError(
        f'The files in "{folder}" are missing or damaged; check the space on that disk and try'
        " again."
    )
