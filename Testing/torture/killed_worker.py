"""The worker's process killed in the middle of a run, as its owner sees it."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path
from random import Random

import numpy as np

from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.worker.array_files import load_segmentation, load_volume, save_volume
from MedLLMSegLib.worker.client import WorkerClient
from MedLLMSegLib.worker.protocol import Event
from Testing.helpers.tiny_segmenter import tiny_bundle

from .kill_tally import KillTally
from .killed_jobs import scan
from .whole_files import temporary_files

CASES_PER_KILL = 3  # at most: a moment that is drawn may be after the end
LONGEST_S = 120.0
EARLY_SHARE = 0.2  # of the cases are killed before the worker has said that it is ready


class _Owner:
    """A client, its scan, and requests one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = tiny_bundle(folder / "tiny")
        self.scan = save_volume(scan(0), folder / "volume")
        environment = {**os.environ, "MEDLLMSEG_CACHE": str(folder / "cache")}
        self.client = WorkerClient(sys.executable, environment, folder / "worker.log")

    def submit(self, output: Path) -> int:
        return self.client.submit(
            "segment", volume=self.scan, output=output, model=str(self.model), device="cpu"
        )

    def last(self, request: int) -> Event:
        """The request's last event."""
        until = time.monotonic() + LONGEST_S
        while time.monotonic() < until:
            for event in self.client.poll():
                if event.id == request and event.final:
                    return event
            time.sleep(0.005)
        raise TimeoutError(f"no answer in {LONGEST_S:.0f} s")

    def kill(self) -> None:
        process = self.client._process
        pid = process and (process.server_pid or process.popen.pid)
        if pid:
            os.kill(pid, signal.SIGKILL)


def torture_worker(folder: Path, count: int, seed: int, until: float) -> KillTally:
    """Kill a worker so many times, each time in another moment of a run."""
    tally, owner = KillTally("worker"), _Owner(folder)
    try:
        owner.last(owner.submit(folder / "first"))
        began = time.monotonic()
        expected = load_segmentation(owner.last(owner.submit(folder / "second")).folder)
        seconds = time.monotonic() - began
        for number in range(CASES_PER_KILL * count):
            if tally.kills >= count or time.monotonic() > until:
                break
            rng = Random(f"worker {seed} {number}")
            faults = _kill_once(owner, rng, seconds, expected, tally)
            tally.faults += [f"worker {seed} {number}: {fault}" for fault in faults]
    finally:
        owner.client.close()
    return tally


def _kill_once(
    owner: _Owner, rng: Random, seconds: float, expected: Segmentation, tally: KillTally
) -> list[str]:
    output = owner.folder / "result"
    shutil.rmtree(output, ignore_errors=True)
    if rng.random() < EARLY_SHARE:  # a worker that is still importing its packages
        owner.kill()
        while owner.client.alive:
            time.sleep(0.005)
        seconds *= 5
    request = owner.submit(output)
    time.sleep(rng.uniform(0, seconds))
    owner.kill()
    event, faults = owner.last(request), []
    tally.kills += event.event == "error"
    tally.ended_first += event.event != "error"
    if event.event == "error" and not _says_it(event.message):
        faults.append(f"the message is {event.message!r}")
    if event.event == "result" and not _same(load_segmentation(event.folder), expected):
        faults.append("the result is another one")
    load_volume(owner.scan)
    while owner.client.alive:  # a kill after the result is noticed a moment later
        time.sleep(0.005)
    again = owner.last(owner.submit(output))
    if again.event != "result":
        return [*faults, f"the same request again: {again.message} {again.details}"]
    if not _same(load_segmentation(again.folder), expected):
        faults.append("the same request again gives another result")
    return faults + [f"left behind: {name}" for name in temporary_files(output)]


def _says_it(message: str) -> bool:
    """Whether the user learns what happened. A worker that never began names its log."""
    stopped = "process stopped" in message and "press Segment again" in message
    return stopped or "could not start" in message


def _same(first: Segmentation, second: Segmentation) -> bool:
    return np.array_equal(first.labels.array, second.labels.array)
