"""Damage files of every kind in many ways, and see that each ends in one sentence or in a reading.

    python tools/torture.py [--minutes 60] [--count 1000] [--seed 0] [--kind nifti] [--case 17]

Each case runs in a child process with 2 GB of memory and 10 s of processor time. A case is made
from its kind, seed and number alone, so that `--kind K --seed S --case N` runs it again. The files
of each fault are left in the folder of --keep. Exit code 1 if there was a fault.

    python tools/torture.py --kill batch --kill training [--count 50] [--minutes 60] [--seed 0]

kills these jobs with signal 9, each so many times in another moment, and sees that nothing is lost
or half-written, and that the same job goes on and ends well (Testing/torture/kills.py).
"""

import argparse
import random
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from Testing.torture.pool import (  # noqa: E402 (the line above finds it)
    KIND_NAMES,
    Case,
    Tally,
    cases_in_turn,
    run_cases,
)

KILLED = ("batch", "training", "import", "worker", "two")
KILLS = 50


def printed(tallies: dict[str, Tally]) -> str:
    """A table of how the cases ended."""
    lines = ["| kind | cases | read | one sentence | faults | slowest (s) |"]
    lines += ["|---|--:|--:|--:|--:|--:|"]
    for kind, tally in tallies.items():
        counts = tally.counts
        faults = sum(counts.values()) - counts["read"] - counts["sentence"]
        lines.append(
            f"| {kind} | {sum(counts.values())} | {counts['read']} | {counts['sentence']} |"
            f" {faults} | {tally.slowest_s:.1f} |"
        )
    return "\n".join(lines)


def kill_jobs(names: list[str], count: int, seed: int, minutes: float) -> int:
    """Kill jobs and print the counts; returns the exit code."""
    from Testing.torture.kill_tally import KillTally, table
    from Testing.torture.kills import torture  # it imports torch

    tallies: list[KillTally] = []
    for tally in torture(names, count, seed, minutes):
        tallies.append(tally)
        print(table(tallies), *tally.faults[:20], sep="\n", flush=True)
    return 1 if any(tally.faults for tally in tallies) else 0


def main() -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--count", type=int, help="cases of each kind (default: as time allows)")
    parser.add_argument("--seed", type=int, help="default: drawn, and printed")
    parser.add_argument("--kind", action="append", choices=KIND_NAMES, help="default: all")
    parser.add_argument("--case", type=int, help="this case only, of one kind")
    parser.add_argument("--keep", type=Path, default=ROOT / "build" / "torture")
    parser.add_argument(
        "--kill",
        action="append",
        choices=(*KILLED, "all"),
        help="kill these jobs in place of damaging files; two: processes on one cache",
    )
    args = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if args.seed is None else args.seed
    if args.kill:
        names = [name for name in KILLED if name in args.kill or "all" in args.kill]
        print(f"seed {seed}, killed: {', '.join(names)}", flush=True)
        return kill_jobs(names, args.count or KILLS, seed, args.minutes)
    kinds = args.kind or list(KIND_NAMES)
    print(f"seed {seed}, kinds {', '.join(kinds)}", flush=True)
    if args.case is not None:
        cases = iter([Case(kind, seed, args.case) for kind in kinds])
    else:
        cases = cases_in_turn(kinds, seed, args.count, args.minutes)
    tallies = run_cases(cases, args.keep)
    print(printed(tallies))
    faults = [fault for tally in tallies.values() for fault in tally.faults]
    for fault in faults[:50]:
        last = fault.detail.strip().splitlines()[-1:] or [""]
        print(f"{fault.case}: {fault.outcome}: {last[0][:300]}")
    print("faults:", dict(Counter(fault.outcome for fault in faults)) or "none")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
