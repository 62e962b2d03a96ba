"""What was decided about a network's precision, kept in the cache folder.

One small file for a model, an engine, a processor and a version of torch, so that the check costs
once, and a scan is segmented the same way each time.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.json_text import parse_json
from MedLLMSegLib.core.places import cache_dir
from MedLLMSegLib.core.processor import processor_model
from MedLLMSegLib.core.safe_files import check_writable, remove_leftovers, temporary_path
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.engines.engine_names import TORCH, engine_version
from MedLLMSegLib.engines.graph import BF16, FP32

FOLDER = "precision"  # in the cache folder
DIGITS = 24  # of a file's name
CHECK_VERSION = 1  # raise it when the check changes: what an older one decided is then not used


@dataclass(frozen=True)
class Precision:
    """In which precision a network runs, and why.

    name: "fp32" or "bf16". why: one sentence. agreement: share of equal labels among the voxels
    that fp32 or bf16 calls foreground. speed: processor time of fp32 over that of bf16. Both are
    None where they were not measured. processor, torch_version: where and with what.
    """

    name: str
    why: str
    agreement: float | None = None
    speed: float | None = None
    processor: str = field(default_factory=processor_model)
    torch_version: str = str(torch.__version__)


# Times are never twice the same. What they decide has to be kept, so that a scan is segmented the
# same way each time.
NOT_KEPT = "Whether bf16 is as good cannot be kept in the cache folder, so it was not used."


def read_kept(sha256: str, engine: str = TORCH) -> Precision | None:
    """What was decided for a network in an engine; None where nothing was, or a damaged file is
    there.
    """
    return _read(_key(sha256, engine))


def can_keep() -> bool:
    """Whether a decision could be written."""
    try:
        check_writable(cache_dir() / FOLDER)
    except UserError:
        return False
    return True


def keep(precision: Precision, sha256: str, engine: str = TORCH) -> Precision:
    """Write a decision; returns the one that holds from now on.

    Where another process has decided meanwhile, its decision holds. Where writing fails, fp32 does.
    """
    try:
        return _write_first(precision, _key(sha256, engine))
    except OSError:
        return Precision(FP32, NOT_KEPT)


def _write_first(precision: Precision, key: Json) -> Precision:
    path = _path(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path.parent)
    try:
        text = json.dumps(asdict(precision) | {"key": key}, indent=1)
        temporary.write_text(text, encoding="utf-8")
        try:
            os.link(temporary, path)  # unlike a replacement, it fails where the file exists
        except OSError:
            earlier = _read(key)
            if earlier is not None:
                return earlier
            os.replace(temporary, path)  # over a damaged file, or on a disk without links
    finally:
        temporary.unlink(missing_ok=True)
        remove_leftovers(path.parent)
    return precision


def _key(sha256: str, engine: str) -> Json:
    """What a decision holds for."""
    key = {
        "sha256": sha256,
        "processor": processor_model(),
        "torch": str(torch.__version__),
        "check": CHECK_VERSION,
    }
    return key if engine == TORCH else {**key, "engine": engine_version(engine)}


def _path(key: Json) -> Path:
    digest = hashlib.sha256(json.dumps(key).encode("utf-8")).hexdigest()
    return cache_dir() / FOLDER / f"{digest[:DIGITS]}.json"


def _read(key: Json) -> Precision | None:
    try:
        data = parse_json(_path(key).read_bytes())
        if data.pop("key") != key:
            return None
        precision = Precision(**data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return precision if _is_sound(precision) else None


def _is_sound(precision: Precision) -> bool:
    texts = (precision.why, precision.processor, precision.torch_version)
    numbers = (precision.agreement, precision.speed)
    return (
        precision.name in (FP32, BF16)
        and all(isinstance(text, str) for text in texts)
        and all(isinstance(number, float | int | None) for number in numbers)
    )
