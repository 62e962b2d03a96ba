"""The worker as its owner sees it, with a stand-in engine: it answers and lets go."""

import ctypes
import os
import random
import threading
import time

import numpy as np
import pytest

from MedLLMSegLib import Volume
from MedLLMSegLib.worker.array_files import load_segmentation, save_volume
from MedLLMSegLib.worker.protocol import STOP_S
from Testing.helpers.worker_owner import (
    GRID,
    LINUX,
    STAND_IN,
    cancelled_in,
    gone,
)


@pytest.mark.parametrize("dtype", ("uint8", "int16", "float32", "float64"))
def test_a_scan_comes_back_segmented_where_it_lay(shared, dtype):
    array = (np.random.default_rng(0).random(GRID.shape) * 200).astype(dtype)
    events = shared.until(
        shared.ask(array=array, device="cpu", side="left", uncertainty=True, augment=2)
    )
    result = load_segmentation(events[-1].folder)
    assert np.array_equal(result.labels.array, array > array.mean(dtype=float))
    assert np.array_equal(result.labels.ijk_to_ras, GRID.ijk_to_ras)  # to the last bit
    assert result.notes == ("hippocampus-t1 on cpu", "side left, views 2")
    assert result.uncertainty is not None
    assert result.probabilities is None
    assert result.confidence[1] == 0.75
    stages = [e.stage for e in events if e.event == "progress"]
    assert [s for n, s in enumerate(stages) if s not in stages[:n]][-4:] == [
        "read",
        "load",
        "segment",
        "write",
    ]
    fractions = [e.fraction for e in events if e.event == "progress"]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert all(e.id == events[0].id for e in events)


def test_probabilities_come_only_if_asked_for(shared):
    result = load_segmentation(shared.until(shared.ask(probabilities=True))[-1].folder)
    assert result.probabilities.array.shape == (2, *GRID.shape)
    assert result.uncertainty is None


def test_a_long_foreign_folder(shared):
    place = shared.folder.joinpath(*["Größe 日本語 ☃ " + "x" * 60] * 8)
    save_volume(Volume(np.arange(8.0).reshape(2, 2, 2), np.eye(4), "scan ☃"), place)
    number = shared.submit(
        "segment", volume=place, output=place / "ergebnis ä", model="hippocampus-t1"
    )
    assert load_segmentation(shared.until(number)[-1].folder).labels.array.sum() == 4


@pytest.mark.parametrize(
    "deed, kind, text",
    (
        ("user", "user", "The scan is upside down; turn it and try again."),
        (
            "memory",
            "user",
            (
                "There was not enough memory for this; close other programs and scans and try"
                " again, or use a smaller scan."
            ),
        ),
        (
            "unexpected",
            "unexpected",
            (
                "Something unexpected went wrong (ValueError: two lines of ☃); the log has the"
                " details."
            ),
        ),
        (
            "exit",
            "unexpected",
            "Something unexpected went wrong (SystemExit: 3); the log has the details.",
        ),
    ),
)
def test_a_failure_is_one_sentence_and_the_worker_goes_on(shared, deed, kind, text):
    pid, last = shared.pid(), shared.until(shared.ask(deed))[-1]
    assert (last.event, last.kind, last.message) == ("error", kind, text)
    assert "Traceback" in last.details
    assert "worker_stand_in.py" in last.details
    assert last.details.splitlines()[-1] in shared.log
    assert shared.until(shared.ask())[-1].event == "result"
    assert shared.pid() == pid


@pytest.mark.parametrize(
    "fields, text",
    (
        ({"model": "no-such-model"}, 'There is no model called "no-such-model"'),
        ({"volume": "/no/such/folder"}, 'The files in "/no/such/folder" are missing or damaged'),
        ({"output": STAND_IN}, "cannot be a folder for results"),
    ),
)
def test_a_request_that_cannot_be_met(shared, fields, text):
    place = save_volume(Volume(np.ones((2, 2, 2)), np.eye(4)), shared.folder / "small")
    number = shared.submit(
        "segment",
        **{"volume": place, "output": place / "result", "model": "hippocampus-t1", **fields},
    )
    last = shared.until(number)[-1]
    assert last.kind == "user"
    assert text in last.message


def test_diagnose_is_answered(shared):
    number = shared.submit(
        "diagnose", image="x.png", model="no-such-model", output=shared.folder / "diagnosis"
    )
    assert (
        'no model called "no-such-model"; the models that diagnose are'
        in shared.until(number)[-1].message
    )


def test_what_libraries_write_to_stdout_goes_to_the_log(shared):
    assert shared.until(shared.ask("print"))[-1].event == "result"
    for text in (
        "a print of Python's",
        "no line end: ☃\\udc80",
        "a printf of C's",
        "a print of a child",
        '{"id": 1, "event": "result"}',
    ):
        assert text in shared.log


@LINUX
def test_fifty_requests_leave_no_file_open_and_nothing_behind(make, tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    owner = make(TMPDIR=str(temporary))
    pid = owner.pid()

    def open_files(process):
        return len(os.listdir(f"/proc/{process}/fd"))

    owner.until(owner.ask())
    before = open_files(pid), open_files("self"), threading.active_count()
    for n in range(50):
        owner.until(
            owner.ask(("scan", "user", "unexpected")[n % 3], array=np.arange(8.0).reshape(2, 2, 2))
        )
    assert (
        open_files(pid),
        open_files("self"),
        threading.active_count(),
    ) == before
    assert owner.pid() == pid
    assert not list(temporary.iterdir())
    assert not owner._requests


def test_two_requests_wait_for_each_other(shared):
    first, second = shared.ask("slow"), shared.ask()
    shared.busy(first)
    # "start" where this test is the worker's first, and the packages are still being imported
    waiting = shared.until(second, lambda event: event.stage != "start")
    assert waiting[-1].stage == "wait"
    third = shared.ask()
    shared.cancel(second)
    shared.cancel(third)
    assert [shared.until(n)[-1].kind for n in (second, third)] == ["cancelled"] * 2
    assert not any(e.final for e in shared.seen[first])  # which went on
    fourth = shared.ask()
    shared.cancel(first)
    assert shared.until(first)[-1].kind == "cancelled"
    assert shared.until(fourth)[-1].event == "result"


def test_between_two_windows_it_stops_at_once_and_stays_warm(shared, slack):
    pid, number = shared.pid(), shared.ask("slow")
    shared.busy(number)
    assert cancelled_in(shared, number) < 0.5 + slack
    assert shared.pid() == pid


def test_while_packages_are_loaded_it_answers_at_once_and_goes_on_loading(make, slack):
    owner = make(IMPORT_S="4")
    number = owner.ask()
    assert owner.until(number, lambda event: True)[0].stage == "start"
    assert owner.ready
    assert cancelled_in(owner, number) < 0.5 + slack
    assert owner.until(owner.ask())[-1].event == "result"


@LINUX
def test_while_a_model_is_loaded_it_is_killed_in_time(make, slack):
    owner = make(LOAD_S="60")
    pid, number = owner.pid(), owner.ask()
    owner.until(number, lambda event: event.stage == "load")
    assert STOP_S <= cancelled_in(owner, number) < 2 + slack
    assert gone(pid)
    assert owner.pid() != pid


@LINUX
@pytest.mark.parametrize("deed", ("hang", "hang with the lock"))
def test_a_network_that_never_returns_is_killed_in_time_and_who_waits_is_served(make, slack, deed):
    owner = make()
    pid, number = owner.pid(), owner.ask(deed)
    waits = owner.ask()
    owner.busy(number)
    assert STOP_S <= cancelled_in(owner, number) < 2 + slack
    assert gone(pid)
    assert owner.until(waits)[-1].event == "result"
    assert owner.pid() != pid


def test_an_owner_who_does_not_poll_is_obeyed_too(make, slack):
    owner = make()
    number = owner.ask("hang")
    owner.busy(number)
    process = owner._process
    owner.cancel(number)
    assert process.wait(2 + slack)
    assert not owner.alive
    assert owner.until(number)[-1].kind == "cancelled"


def test_a_result_that_is_there_already_is_cancelled_too(shared):
    number = shared.ask()
    while not shared._requests[number].ended:
        time.sleep(0.01)
    assert cancelled_in(shared, number) < 1
    shared.cancel(number)  # again, and for a request that is over: nothing happens
    assert not shared.poll()


@pytest.mark.slow
def test_every_request_ends_once_whatever_is_cancelled(make):
    owner, rng = make(), random.Random(3)
    numbers = []
    for _ in range(40):
        numbers.append(
            owner.ask(
                rng.choice(("scan", "scan", "user", "print", "slow")),
                array=np.arange(8.0).reshape(2, 2, 2),
            )
        )
        if rng.random() < 0.6:
            owner.cancel(rng.choice(numbers))
        if rng.random() < 0.3:
            time.sleep(0.05)
            for event in owner.poll():
                owner.seen.setdefault(event.id, []).append(event)
    for number in numbers:
        if owner._requests.get(number):
            owner.cancel(number)
        owner.until(number)
    assert not owner.poll()
    assert all(
        [e.final for e in owner.seen[n]].count(True) == 1 and owner.seen[n][-1].final
        for n in numbers
    )


@LINUX
def test_it_works_in_a_program_that_keeps_the_interpreter_to_itself(make, slack):
    """As Slicer does: while Qt waits for events no other Python thread runs, but for the moments
    in which a timer polls.
    """
    owner, still = make(), ctypes.PyDLL(None)  # unlike CDLL's, its calls keep the lock
    owner.pid()

    def ends(number):
        began = time.monotonic()
        while time.monotonic() < began + 20:
            events = owner.poll()
            if any(e.final and e.id == number for e in events):
                return events[-1], time.monotonic() - began
            still.usleep(100_000)

    event, seconds = ends(owner.ask())
    assert event.event == "result"
    assert seconds < 0.6 + slack
    number = owner.ask("hang")
    for _ in range(5):
        owner.poll()
        still.usleep(100_000)
    owner.cancel(number)
    event, seconds = ends(number)
    assert event.kind == "cancelled"
    assert seconds < 2 + slack
