"""Two processes on one cache, as two Slicers: both import, accept, decide and log at once, and
one of them is killed.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from pathlib import Path
from random import Random

from MedLLMSegLib.cli import main as cli
from MedLLMSegLib.registry.catalogue import find_model, list_models
from MedLLMSegLib.registry.licences import accept_licence, licence_accepted
from MedLLMSegLib.registry.user_models import import_model, is_users_model, verify_model
from MedLLMSegLib.segmentation.kept_precision import Precision, keep, read_kept
from Testing.helpers.tiny_segmenter import tiny_bundle

from .kill_tally import KillTally
from .killed_jobs import use_cache
from .killing import Forked, Kill, Run
from .whole_files import age, damaged_files, temporary_files

CASES_PER_KILL = 3  # at most: a moment that is drawn may be after the end
ROUNDS = 4
WHO = ("first", "second")


def _work(box: Path, who: str) -> int:
    """Import, accept, decide and log, several times. What was done is told line by line."""
    use_cache(box)
    told = box / f"{who}.txt"
    with cli._logging_to_file():
        for n in range(ROUNDS):
            entry = import_model(box / "tiny", rename=True)
            accept_licence(entry)
            name = "bf16" if who == "first" else "fp32"
            decided = keep(Precision(name, "A test."), f"network {n}")
            line = f"{who} did round {n}"
            logging.getLogger("medllmseg").warning("%s", line)
            deed = {"id": entry.id, "network": f"network {n}", "name": decided.name, "log": line}
            with open(told, "a", encoding="utf-8") as file:
                file.write(json.dumps(deed) + "\n")
    return 0


def torture_pairs(folder: Path, count: int, seed: int, until: float) -> KillTally:
    """Let two processes work on one cache so many times; the second one is killed each time."""
    tally = KillTally("two")
    tiny_bundle(folder / "given" / "tiny", accept_licence=True)
    whole = _both(folder, None)[1]
    tally.faults += [f"two, none killed: {fault}" for fault in _faults(folder, WHO)]
    for number in range(CASES_PER_KILL * count):
        if tally.kills >= count or time.monotonic() > until:
            break
        rng = Random(f"two {seed} {number}")
        kill = Kill(deed=rng.randrange(whole.deeds))
        if number % 2 == 0:
            kill = Kill(after_s=rng.uniform(0, whole.seconds))
        first, second = _both(folder, kill)
        tally.add(second)
        faults = _faults(folder, WHO if not second.killed else WHO[:1])
        if first.code != 0:
            faults.append(f"the other one: exit code {first.code}\n{_log(folder)}")
        tally.faults += [f"two {seed} {number}, killed {kill}: {fault}" for fault in faults]
    return tally


def _both(folder: Path, kill: Kill | None) -> tuple[Run, Run]:
    box = folder / "box"
    shutil.rmtree(box, ignore_errors=True)
    shutil.copytree(folder / "given", box)
    second = Forked(lambda: _work(box, WHO[1]), folder / "second.log", kill)
    first = Forked(lambda: _work(box, WHO[0]), folder / "first.log")
    ended = second.wait()  # it kills, when that is due
    return first.wait(), ended


def _log(folder: Path) -> str:
    return (folder / "first.log").read_text(errors="replace")[-2000:]


def _faults(folder: Path, finished: tuple[str, ...]) -> list[str]:
    """What was lost or is half, of what the processes told that they did."""
    box = folder / "box"
    use_cache(box)
    faults = damaged_files(box)
    deeds = {who: _told(box / f"{who}.txt") for who in WHO}
    faults += [f"{who} did not end" for who in finished if len(deeds[who]) != ROUNDS]
    log = (box / "cache" / cli.LOG_NAME).read_text(encoding="utf-8")
    for deed in (deed for rows in deeds.values() for deed in rows):
        if not licence_accepted(find_model(deed["id"], None)):
            faults.append(f"the licence of {deed['id']} is no longer accepted")
        kept = read_kept(deed["network"])
        if kept is None or kept.name != deed["name"]:
            faults.append(f"{deed['network']}: {kept}, and {deed['name']} was told")
        if deed["log"] not in log:
            faults.append(f"not in the log: {deed['log']}")
    entries = [verify_model(e) for e in list_models(None) if is_users_model(e)]
    ids = {deed["id"] for rows in deeds.values() for deed in rows}
    if len(ids) != sum(map(len, deeds.values())) or not ids <= {e.id for e in entries}:
        faults.append(f"models {sorted(ids)} were imported, and {len(entries)} are there")
    if len({entry.title for entry in entries}) != len(entries):
        faults.append("two models have one title")
    age(box)
    import_model(box / "tiny", rename=True)
    keep(Precision("fp32", "A test."), "another network")
    return faults + [f"left behind: {name}" for name in temporary_files(box / "cache")]


def _told(path: Path) -> list[dict]:
    if not path.exists():
        return []
    whole, _, _rest = path.read_text(encoding="utf-8").rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]
