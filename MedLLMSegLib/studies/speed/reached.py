"""Never slower again: the ratios of a quick run against those that were once reached.

Absolute times differ between machines, and are never judged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.core.types import Json

from .arithmetic import SLACK, worse
from .measure import WHY, timed
from .row import QUICK, Row, Setting

REACHED = Path(__file__).with_name("reached.json")
QUICK_ROUNDS = 3
TRIES = 3  # a machine that was busy in one run is not so in three


def keep(results: Json, path: Path = REACHED) -> Path:
    """Write the ratios of a quick run as those that were reached. Other rows' stay.

    Raises `UserError` for a run of full size: its ratios are other ones.
    """
    if results["about"]["scale"] != QUICK:
        raise UserError("Only the ratios of a quick run are kept; add --quick.")
    kept = read(path) if path.exists() else {}
    for name, row in results["rows"].items():
        if WHY not in row:
            kept[name] = {other: round(ratio, 3) for other, ratio in row["ratios"].items()}
    about = {key: value for key, value in results["about"].items() if key != "scale"}
    text = json.dumps({"about": about, "ratios": kept}, indent=1)
    return write_text(path, text + "\n")


def read(path: Path = REACHED) -> dict[str, dict[str, float]]:
    """Row -> the other contestant, or "exponent" -> the ratio that was reached."""
    ratios: dict[str, dict[str, float]] = json.loads(path.read_text(encoding="utf-8"))["ratios"]
    return ratios


def slower(
    row: Row, reached: Mapping[str, float], setting: Setting, slack: float = SLACK
) -> dict[str, tuple[float, float]]:
    """The ratios of a row that are worse than what was reached: name -> (measured, reached).

    A ratio must be worse in each of `TRIES` runs: one that is good once is good.
    """
    found: dict[str, tuple[float, float]] = {}
    for number in range(TRIES):
        now = worse(timed(row, setting, QUICK_ROUNDS)["ratios"], reached, slack)
        found = {name: both for name, both in now.items() if not number or name in found}
        if not found:
            break
    return found


def sentences(found: Mapping[str, Sequence[float]], row: str) -> list[str]:
    """What became slower, for a message."""
    return [
        f"{row}: ours over {name} is {now:.3g}, and {best:.3g} was reached"
        for name, (now, best) in found.items()
    ]
