"""Which fields a request and an answer may have, and of which types.

A line that is JSON may still be no message of ours: another program's, or damaged on its way. What
passes here can be taken for granted by what works on it. Importing this module is cheap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from MedLLMSegLib.core.types import Json

Types = tuple[type, ...]
NOTHING = type(None)
_TEXT, _TEXT_OR_NOTHING, _FLAG, _NUMBER = (str,), (str, NOTHING), (bool,), (int,)
_REQUESTS: Mapping[str, Mapping[str, Types]] = {
    "segment": {
        "volume": _TEXT,
        "further": (list,),
        "output": _TEXT,
        "model": _TEXT,
        "device": _TEXT,
        "side": _TEXT_OR_NOTHING,
        "probabilities": _FLAG,
        "uncertainty": _FLAG,
        "augment": _NUMBER,
        "precision": _TEXT,
        "engine": _TEXT,
        "structures": (list,),
        "with_model": _TEXT_OR_NOTHING,
        "region": (list,),
    },
    "explain": {
        "volume": _TEXT,
        "output": _TEXT,
        "structure": _TEXT,
        "model": _TEXT,
        "device": _TEXT,
    },
    "diagnose": {
        "image": _TEXT_OR_NOTHING,
        "volumes": (list,),
        "output": _TEXT,
        "model": _TEXT,
        "device": _TEXT,
        "view": _TEXT_OR_NOTHING,
        "modality": (str, list, NOTHING),
        "window": (int, NOTHING),
        "record": (dict, NOTHING),
        "heat_map": (bool, NOTHING),
        "lungs": _TEXT_OR_NOTHING,
    },
    "train": {"request": (dict,), "output": _TEXT, "device": _TEXT},
    "ping": {},
    "cancel": {},
    "quit": {},
}
_NEEDED = {
    "segment": ("volume", "output"),
    "explain": ("volume", "output", "structure"),
    "diagnose": ("output",),
    "train": ("request", "output"),
}
_LISTS_OF_TEXTS = ("volumes", "modality")  # in which None may stand for a missing channel
_ANSWERS: Mapping[str, Types] = {
    "stage": _TEXT,
    "fraction": (int, float),
    "seconds_left": (int, float, NOTHING),
    "unit_s": (int, float, NOTHING),
    "history": (list,),
    "message": _TEXT,
    "details": _TEXT,
    "kind": _TEXT,
    "folder": _TEXT_OR_NOTHING,
    "bundle": _TEXT_OR_NOTHING,
}
_LONGEST_S = 1e12  # no estimate of the time left is longer; NaN is not shorter


def check_request(message: Json) -> None:
    """Raise `ValueError` unless a message is a request whose fields have the right types."""
    do, number = message.get("do"), message.get("id")
    if not isinstance(do, str) or do not in _REQUESTS:
        raise ValueError(f"id {number!r}, do {do!r}")
    if do != "quit" and not is_number(number):
        raise ValueError(f"id {number!r}, do {do!r}")
    missing = [name for name in _NEEDED.get(do, ()) if name not in message]
    if do == "diagnose" and not (message.get("image") or message.get("volumes")):
        missing.append("image or volumes")
    if missing:
        raise ValueError(f"{do} without {', '.join(missing)}")
    _check_types(message, _REQUESTS[do])
    _check_lists(message)
    if any(isinstance(value, str) and "\0" in value for value in message.values()):
        raise ValueError("a text with a zero character")


def _check_lists(message: Json) -> None:
    for name in _LISTS_OF_TEXTS:
        values = message.get(name)
        if isinstance(values, list) and not all(_is_text_or_nothing(v) for v in values):
            raise ValueError(f"{name} {values!r}")
    for name in ("structures", "further"):
        if not all(isinstance(v, str) and "\0" not in v for v in message.get(name, ())):
            raise ValueError(f"{name} {message[name]!r}")
    if "region" in message and not _are_corners(message["region"]):
        raise ValueError(f"region {message['region']!r}")


def check_answer(message: Json) -> None:
    """Raise `ValueError` unless the fields of an answer have the right types and are finite."""
    _check_types(message, _ANSWERS)
    seconds_left = message.get("seconds_left") or 0.0
    if not 0 <= message.get("fraction", 0.0) <= 1 or not abs(seconds_left) < _LONGEST_S:
        raise ValueError(f"fraction {message.get('fraction')!r}, seconds left {seconds_left!r}")
    if not 0 <= (message.get("unit_s") or 0.0) < _LONGEST_S:
        raise ValueError(f"a unit of {message.get('unit_s')!r} seconds")
    if not all(isinstance(row, dict) for row in message.get("history", ())):
        raise ValueError("a history without rows")


def _are_corners(value: object) -> bool:
    """Whether a value is a list of the eight corners of a box, three finite numbers each."""
    corners = value if isinstance(value, list) else []
    points = [corner if isinstance(corner, list) else [] for corner in corners]
    numbers = [x for point in points for x in point]
    are_finite = all(type(x) in (int, float) and abs(x) < math.inf for x in numbers)
    return are_finite and [len(point) for point in points] == [3] * 8


def is_number(value: object) -> bool:
    """Whether a value is a whole number; True and False, which Python counts as such, are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def _check_types(message: Json, known: Mapping[str, Types]) -> None:
    for name, types in known.items():
        if name not in message:
            continue
        value = message[name]
        fits = isinstance(value, types) and (bool in types or not isinstance(value, bool))
        if not fits:
            raise ValueError(f"{name} is {value!r}")


def _is_text_or_nothing(value: object) -> bool:
    return value is None or (isinstance(value, str) and "\0" not in value)
