"""Ways to damage JSON values and texts."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

from .mutations import WIDE_EXTREMES, any_bytes

_STRANGE: tuple[Any, ...] = (
    None, True, False, "", "nan", "../..", "/etc/passwd", "a" * 5000, "\ud800", "\0", "ﬁ\u202e",
    [], {}, [[]], [None], {"": None}, 0.5, -1.5, 1e308, float("nan"), float("inf"), *WIDE_EXTREMES,
    10**400,
)  # fmt: skip


def places_in(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a JSON value, at any depth."""
    if isinstance(value, dict):
        keys: Any = list(value)
    elif isinstance(value, list):
        keys = range(len(value))
    else:
        return []
    here = [(value, key) for key in keys]
    return here + [place for key in keys for place in places_in(value[key])]


def any_value(rng: Random, value: Any) -> Any:
    """A JSON value with one or a few parts lost, exchanged or of another type."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        places = places_in(value)
        if not places:
            return rng.choice(_STRANGE)
        container, key = rng.choice(places)
        other, other_key = rng.choice(places)
        deed = rng.randrange(6)
        if deed == 0:
            del container[key]
        elif deed == 1 and isinstance(container[key], (int, float)):
            container[key] = -container[key] * rng.choice((1, 1000, 10**9))
        elif deed == 2:
            container[key] = copy.deepcopy(other[other_key])
        elif deed == 3 and isinstance(container, dict):
            container[rng.choice(("", "x", "id", "__class__"))] = container.pop(key)
        elif deed == 4 and isinstance(container[key], list):
            container[key] = container[key] * rng.choice((0, 2, 50))
        else:
            container[key] = copy.deepcopy(rng.choice(_STRANGE))
    return value


def any_json(rng: Random, text: bytes) -> bytes:
    """The bytes of a JSON file with damage to values, or to the text itself."""
    deed = rng.random()
    if deed < 0.75:
        return json.dumps(any_value(rng, json.loads(text))).encode()
    if deed < 0.8:
        return rng.choice((b"[" * 100_000, b'{"a":' * 50_000, b"\xef\xbb\xbf" + text, b"null", b""))
    if deed < 0.85:
        return text.decode().encode(rng.choice(("utf-16", "utf-32")))
    return any_bytes(rng, text)
