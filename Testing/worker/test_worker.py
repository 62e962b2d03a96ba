"""The worker as its owner sees it, with a stand-in engine: it answers, lets go, dies, is killed,
and never leaves a process.
"""

import ctypes
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from MedLLMSegLib import UserError, Volume
from MedLLMSegLib.core.errors import Cancelled
from MedLLMSegLib.worker.client import WorkerClient
from MedLLMSegLib.worker.process import own_environment
from MedLLMSegLib.worker.protocol import STOP_S, decode, encode, load_segmentation, save_volume
from MedLLMSegLib.worker.server import Reporter, describe
from Testing.core.test_geometry import GRIDS

ROOT = Path(__file__).parents[2]
STAND_IN = str(ROOT / "Testing/helpers/worker_stand_in.py")
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
GRID = GRIDS["oblique, flipped, permuted, anisotropic"]


class Owner(WorkerClient):
    """A client of the stand-in worker with what a test needs around it."""

    def __init__(self, folder: Path, python=sys.executable, arguments=(STAND_IN,), **environment):
        super().__init__(
            python, {**os.environ, **environment}, folder / "worker.log", arguments=arguments
        )
        self.folder, self.seen = folder, {}

    def ask(self, deed="scan", array=None, **fields) -> int:
        """Segment a scan of that name."""
        array = (
            np.random.default_rng(1).integers(0, 900, GRID.shape).astype(np.int16)
            if array is None
            else array
        )
        place = self.folder / f"{deed} {random.random()}"
        save_volume(Volume(array, GRID.ijk_to_ras, deed), place)
        return self.submit(
            "segment", volume=place, output=place / "result", model="hippocampus-t1", **fields
        )

    def until(self, number, enough=lambda event: event.final, seconds=60):
        """The events of a request up to the one wanted."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for event in self.poll():
                self.seen.setdefault(event.id, []).append(event)
            events = self.seen.get(number, [])
            for n, event in enumerate(events):
                if enough(event):
                    return events[: n + 1]
            time.sleep(0.01)
        raise AssertionError(f"nothing of the kind in {seconds} s; {self.seen}; {self.log}")

    def busy(self, number):
        """Wait until the stand-in is in the middle of its work."""
        self.until(number, lambda event: event.stage == "segment")
        time.sleep(0.1)

    def pid(self) -> int:
        return self.until(self.submit("ping"))[-1].data["pid"]

    @property
    def pid_now(self) -> int | None:
        """Without asking, and so without waiting for its packages."""
        return self._process and self._process.server_pid

    @property
    def log(self) -> str:
        return Path(self.log_path).read_text(encoding="utf-8", errors="replace")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A worker that nothing in these tests ends."""
    with Owner(tmp_path_factory.mktemp("shared")) as owner:
        yield owner


@pytest.fixture
def make(tmp_path):
    owners = []

    def start(**more):
        owners.append(Owner(tmp_path, **more))
        return owners[-1]

    yield start
    for owner in owners:
        owner.close()


@pytest.fixture(scope="session")
def slack():
    """Seconds that this machine, busy as it may be, adds by itself: a multiple of what a bare
    Python takes.
    """
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return 5 * max(0.0, time.monotonic() - began - 0.05)


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(*pids: int, seconds=10) -> bool:
    end = time.monotonic() + seconds
    while any(map(lives, pids)) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(map(lives, pids))


# work


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
    assert (
        result.uncertainty is not None
        and result.probabilities is None
        and result.confidence[1] == 0.75
    )
    stages = [e.stage for e in events if e.event == "progress"]
    assert [s for n, s in enumerate(stages) if s not in stages[:n]][-4:] == [
        "read",
        "load",
        "segment",
        "write",
    ]
    fractions = [e.fraction for e in events if e.event == "progress"]
    assert (
        fractions == sorted(fractions)
        and fractions[-1] == 1
        and all(e.id == events[0].id for e in events)
    )


def test_probabilities_come_only_if_asked_for(shared):
    result = load_segmentation(shared.until(shared.ask(probabilities=True))[-1].folder)
    assert result.probabilities.array.shape == (2, *GRID.shape) and result.uncertainty is None


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
    assert (
        "Traceback" in last.details
        and "worker_stand_in.py" in last.details
        and last.details.splitlines()[-1] in shared.log
    )
    assert shared.until(shared.ask())[-1].event == "result" and shared.pid() == pid


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
    assert last.kind == "user" and text in last.message


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
    count = lambda who: len(os.listdir(f"/proc/{who}/fd"))
    owner.until(owner.ask())
    before = count(pid), count("self"), threading.active_count()
    for n in range(50):
        owner.until(
            owner.ask(("scan", "user", "unexpected")[n % 3], array=np.arange(8.0).reshape(2, 2, 2))
        )
    assert (count(pid), count("self"), threading.active_count()) == before and owner.pid() == pid
    assert not list(temporary.iterdir()) and not owner._requests


def test_two_requests_wait_for_each_other(shared):
    first, second = shared.ask("slow"), shared.ask()
    shared.busy(first)
    waiting = shared.until(second, lambda event: True)
    assert waiting[0].stage == "wait"
    third = shared.ask()
    shared.cancel(second)
    shared.cancel(third)
    assert [shared.until(n)[-1].kind for n in (second, third)] == ["cancelled"] * 2
    assert not any(e.final for e in shared.seen[first])  # which went on
    fourth = shared.ask()
    shared.cancel(first)
    assert (
        shared.until(first)[-1].kind == "cancelled" and shared.until(fourth)[-1].event == "result"
    )


# cancel


def cancelled_in(owner, number) -> float:
    began = time.monotonic()
    owner.cancel(number)
    last = owner.until(number)[-1]
    assert (last.event, last.kind, last.message) == ("error", "cancelled", "")
    return time.monotonic() - began


def test_between_two_windows_it_stops_at_once_and_stays_warm(shared, slack):
    pid, number = shared.pid(), shared.ask("slow")
    shared.busy(number)
    assert cancelled_in(shared, number) < 0.5 + slack
    assert shared.pid() == pid


def test_while_packages_are_loaded_it_answers_at_once_and_goes_on_loading(make, slack):
    owner = make(IMPORT_S="4")
    number = owner.ask()
    assert owner.until(number, lambda event: True)[0].stage == "start" and owner.ready
    assert cancelled_in(owner, number) < 0.5 + slack
    assert owner.until(owner.ask())[-1].event == "result"


@LINUX
def test_while_a_model_is_loaded_it_is_killed_in_time(make, slack):
    owner = make(LOAD_S="60")
    pid, number = owner.pid(), owner.ask()
    owner.until(number, lambda event: event.stage == "load")
    assert STOP_S <= cancelled_in(owner, number) < 2 + slack
    assert gone(pid) and owner.pid() != pid


@LINUX
@pytest.mark.parametrize("deed", ("hang", "hang with the lock"))
def test_a_network_that_never_returns_is_killed_in_time_and_who_waits_is_served(make, slack, deed):
    owner = make()
    pid, number = owner.pid(), owner.ask(deed)
    waits = owner.ask()
    owner.busy(number)
    assert STOP_S <= cancelled_in(owner, number) < 2 + slack
    assert gone(pid)
    assert owner.until(waits)[-1].event == "result" and owner.pid() != pid


def test_an_owner_who_does_not_poll_is_obeyed_too(make, slack):
    owner = make()
    number = owner.ask("hang")
    owner.busy(number)
    process = owner._process
    owner.cancel(number)
    assert process.wait(2 + slack) and not owner.alive
    assert owner.until(number)[-1].kind == "cancelled"


def test_a_result_that_is_there_already_is_cancelled_too(shared):
    number = shared.ask()
    while not shared._requests[number].ended:
        time.sleep(0.01)
    assert cancelled_in(shared, number) < 1
    shared.cancel(number)  # again, and for a request that is over: nothing happens
    assert not shared.poll()


def test_every_request_ends_once_whatever_is_cancelled(make):
    owner, rng = make(), random.Random(3)
    numbers = []
    for n in range(40):
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
    assert event.event == "result" and seconds < 0.6 + slack
    number = owner.ask("hang")
    for _ in range(5):
        owner.poll()
        still.usleep(100_000)
    owner.cancel(number)
    event, seconds = ends(number)
    assert event.kind == "cancelled" and seconds < 2 + slack


# death


@LINUX
def test_a_killed_worker_gives_one_sentence_and_the_next_press_works(make):
    owner = make()
    pid, numbers = owner.pid(), [owner.ask("slow"), owner.ask()]
    owner.busy(numbers[0])
    os.kill(pid, signal.SIGKILL)
    for number in numbers:
        last = owner.until(number)[-1]
        assert (
            last.kind == "unexpected"
            and last.message
            == "The worker process stopped (it was killed, or the computer ran "
            "out of memory); press Segment again."
        )
        assert "exit code -9" in last.details
    assert not owner.alive and not owner.poll()
    assert owner.until(owner.ask())[-1].event == "result" and owner.ready
    os.kill(owner.pid(), signal.SIGKILL)  # idle: nobody need hear of it
    while owner.alive:
        time.sleep(0.01)
    assert not owner.poll() and owner.until(owner.ask())[-1].event == "result"


def test_a_crash_in_c_leaves_its_trace(make):
    owner = make()
    last = owner.until(owner.ask("crash"))[-1]
    assert (
        "press Segment again" in last.message and "worker_stand_in.py" in last.details
    )  # by faulthandler


def test_a_worker_that_cannot_start(make, tmp_path):
    owner = make(arguments=("-c", "import nothing_of_the_kind"))
    owner.start()
    last = owner.until(owner.ask())[-1]
    assert "could not start (exit code 1)" in last.message and str(owner.log_path) in last.message
    assert "nothing_of_the_kind" in last.details
    other = make(python=str(tmp_path / "no Python"))
    other.start()
    last = other.until(other.ask())[-1]
    assert (
        "could not be started" in last.message and "no Python" in last.message and not other.alive
    )


def test_packages_that_are_missing_and_then_there(make, tmp_path):
    owner = make(NEEDS=str(tmp_path / "torch"))
    last = owner.until(owner.ask())[-1]
    assert last.kind == "user" and last.message.startswith(
        "The Python package torch is missing; press the button"
    )
    assert owner._process.wait(
        10
    )  # a package that broke while it was loaded must not stay in anyone's way
    (tmp_path / "torch").write_text("installed")
    assert owner.until(owner.ask())[-1].event == "result"
    (tmp_path / "torch").unlink()
    later = make(NEEDS=str(tmp_path / "torch"))
    later.start()
    while not later.ready or "could not be loaded" not in later.log:
        time.sleep(0.05)
    (tmp_path / "torch").write_text("installed")
    assert later.until(later.ask())[-1].event == "result"  # it tried again by itself


@LINUX
@pytest.mark.parametrize("deed", (None, "slow", "hang"))
def test_no_worker_outlives_its_owner(tmp_path, deed):
    code = (
        f"import sys, time; sys.path.insert(0, {str(ROOT)!r})\n"
        "from Testing.worker.test_worker import Owner; from pathlib import Path\n"
        f"owner = Owner(Path({str(tmp_path)!r})); pid, deed = owner.pid(), {deed!r}\n"
        "if deed: owner.busy(owner.ask(deed))\n"
        "print(pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    pid = int(parent.stdout.readline())
    assert lives(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone(pid)


@LINUX
def test_behind_a_launcher_the_real_process_is_killed_too(make, tmp_path, slack):
    """PythonSlicer starts another process and waits for it; so does this one."""
    launcher = tmp_path / "Python Slicer"
    launcher.write_text(f'#!/bin/sh\n"{sys.executable}" "$@"\nexit $?\n')
    launcher.chmod(0o755)
    owner = make(python=launcher)
    pid, number = owner.pid(), owner.ask("hang with the lock")
    front = owner._process.popen.pid
    assert front != pid
    owner.busy(number)
    assert cancelled_in(owner, number) < 2 + slack and gone(pid, front)
    pid = owner.pid()
    front = owner._process.popen.pid
    os.kill(front, signal.SIGKILL)  # whose death the real one sees only when its requests end
    assert owner.until(owner.ask())[-1].event in ("result", "error")
    owner.close()
    assert gone(pid, front)


@LINUX
def test_a_worker_that_is_killed_before_it_has_said_hello_does_not_stay(make, tmp_path):
    """Behind a launcher, nobody knows the real process's pid until then."""
    launcher, slow, pid_file = tmp_path / "Python Slicer", tmp_path / "slow.py", tmp_path / "pid"
    slow.write_text(
        "import os, pathlib, runpy, sys,"
        f" time\npathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()))\ntime.sleep(1)\nsys.argv"
        " = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    launcher.write_text(f'#!/bin/sh\n"{sys.executable}" "{slow}" "$@"\nexit $?\n')
    launcher.chmod(0o755)
    owner = make(python=launcher)
    owner.ask()
    end = time.monotonic() + 10
    while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < end:
        time.sleep(0.01)
    pid = int(pid_file.read_text())
    assert lives(pid) and owner._process.server_pid is None
    owner._process.kill()
    assert gone(pid)


@LINUX
@pytest.mark.parametrize("deed", (None, "slow", "hang with the lock"))
def test_closing_ends_everything(make, slack, deed):
    owner = make()
    pid = owner.pid()
    number = owner.ask(deed) if deed else None
    if deed:
        owner.busy(number)
    began = time.monotonic()
    owner.close()
    assert time.monotonic() - began < (2 if deed == "hang with the lock" else 1) + slack
    assert gone(pid, seconds=1) and not owner.alive
    events = [e for e in owner.poll() if e.final]
    assert [(e.id, e.kind) for e in events] == ([(number, "cancelled")] if deed else [])
    with pytest.raises(RuntimeError, match="closed"):
        owner.submit("ping")
    owner.close()


@LINUX
def test_ctrl_c_in_the_terminal_is_not_for_the_worker(shared):
    pid = shared.pid()
    os.kill(pid, signal.SIGINT)
    assert shared.until(shared.ask())[-1].event == "result" and shared.pid() == pid


def test_a_log_that_grew_long_begins_anew_and_one_that_cannot_be_written_is_done_without(
    make, tmp_path
):
    (tmp_path / "worker.log").write_bytes(b"old\n" * 600_000)
    owner = make()
    assert owner.until(owner.ask("print"))[-1].event == "result" and "old" not in owner.log
    (tmp_path / "file").write_text("")
    owner = make()
    owner.log_path = tmp_path / "file" / "log"
    assert owner.until(owner.ask("print"))[-1].event == "result"
    owner = make()
    owner.log_path = None
    assert owner.until(owner.ask("die"))[-1].details == "exit code 9"


# the protocol itself


def test_apples_gpu_may_leave_to_the_cpu_what_it_lacks_unless_the_user_says_otherwise():
    code = "import os; print(os.environ['PYTORCH_ENABLE_MPS_FALLBACK'])"
    for given, wanted in (({}, "1"), ({"PYTORCH_ENABLE_MPS_FALLBACK": "0"}, "0")):
        environment = own_environment(
            {**{k: v for k, v in os.environ.items() if "MPS" not in k}, **given}
        )
        assert (
            subprocess.run(
                [sys.executable, "-c", code], env=environment, capture_output=True, text=True
            ).stdout.strip()
            == wanted
        )


def test_garbage_is_left_out_and_the_next_request_is_answered():
    garbage = (
        b"\n",
        b"hello\n",
        b"\xff\x00\xfe\n",
        b"[1, 2]\n",
        b"null\n",
        b'{"do": "segment"}\n',
        b'{"id": 1}\n',
        b'{"id": 1, "do": "dance"}\n',
        b'{"id": "one", "do": "ping"}\n',
        b'{"id": 1, "do": ["ping"]}\n',
        b"[" * 50_000 + b"\n",
        b"x" * 2_500_000 + b"\n",
    )
    requests = (
        b"".join(garbage)
        + encode({"id": 7, "do": "cancel"})
        + encode({"id": 8, "do": "ping"})
        + encode({"do": "quit"})
    )
    done = subprocess.run(
        [sys.executable, STAND_IN],
        input=requests,
        capture_output=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    answers = [decode(line) for line in done.stdout.splitlines()]
    assert answers[0]["event"] == "hello" and done.returncode == 0
    bad = [a for a in answers if a["event"] == "error"]
    assert len(bad) >= len(garbage) and all(
        a["id"] is None and a["kind"] == "unexpected" for a in bad
    )
    assert sum(map(len, (a["details"] for a in bad))) < 500 * len(
        bad
    )  # it does not answer with all of it
    # "quit" does not wait for what was asked before it
    assert {a["event"] for a in answers if a["id"] == 8} <= {"progress", "result"}


def test_what_a_launcher_prints_before_is_no_answer(make):
    greeting = (
        "import runpy; print('Welcome to Slicer'); print('[1, 2]'); print('{\"id\": 1}',"
        f" flush=True); runpy.run_path({STAND_IN!r}, run_name='__main__')"
    )
    owner = make(arguments=("-c", greeting))
    assert owner.until(owner.ask())[-1].event == "result"


def test_the_time_left_is_guessed_from_the_work_and_not_from_the_model():
    sent, now = [], [100.0]
    report = Reporter(sent.append, 5, threading.Event())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("MedLLMSegLib.worker.server.time.monotonic", lambda: now[0])
        for stage, fraction, seconds in (
            ("read", 0, 1),
            ("load", 0, 30),
            ("localize", 0.0, 2),
            ("localize", 0.2, 2),
            ("segment", 0.4, 4),
            ("segment", 0.8, 0),
            ("segment", 1.0, 0),
        ):
            report(stage, fraction)
            now[0] += seconds
    assert [m["seconds_left"] for m in sent] == [None, None, None, 8.0, 6.0, 2.0, 0.0]
    assert [m["stage"] for m in sent][-1] == "segment" and all(m["id"] == 5 for m in sent)


def test_progress_is_not_told_more_often_than_anyone_can_see():
    sent, stop = [], threading.Event()
    report = Reporter(sent.append, 5, stop)
    for n in range(1000):
        report(f"step {n} of 1000", n / 1000, [{"step": n}] if n == 500 else [])
    report("done", 1.0)
    assert (
        len(sent) < 20
        and sent[-1]["fraction"] == 1
        and sum((m["history"] for m in sent), []) == [{"step": 500}]
    )
    stop.set()
    with pytest.raises(Cancelled):
        report("segment", 0.1)


def test_errors_are_described_in_a_users_words():
    assert describe(UserError("One\n  sentence."))["message"] == "One sentence."
    assert (
        len(describe(ValueError("x" * 5000))["message"]) < 600
        and len(describe(ValueError("x" * 5000))["details"]) > 5000
    )
    assert describe(Cancelled()) == {"kind": "cancelled", "message": "", "details": ""}
