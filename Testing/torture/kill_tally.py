"""The counts of kills."""

from __future__ import annotations

from dataclasses import dataclass, field

from .killing import Run


@dataclass
class KillTally:
    """Of one job. kills: processes that were killed. ended_first: those that were done before."""

    name: str
    kills: int = 0
    ended_first: int = 0
    faults: list[str] = field(default_factory=list)

    def add(self, run: Run) -> None:
        self.kills += run.killed
        self.ended_first += not run.killed


def table(tallies: list[KillTally]) -> str:
    """The counts as a table."""
    lines = ["| what | killed | was done before | faults |", "|---|--:|--:|--:|"]
    lines += [f"| {t.name} | {t.kills} | {t.ended_first} | {len(t.faults)} |" for t in tallies]
    return "\n".join(lines)
