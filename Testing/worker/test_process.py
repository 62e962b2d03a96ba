"""The worker's process with a stand-in engine: it dies, is killed, and never stays behind."""

import os
import signal
import subprocess
import sys
import time

import pytest

from MedLLMSegLib.core.own_environment import own_environment
from MedLLMSegLib.worker import process
from Testing.helpers.worker_owner import LINUX, ROOT, STAND_IN, cancelled_in, gone, lives


def test_a_log_that_begins_anew_loses_nothing_that_another_slicer_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "LOG_BYTES", 20)
    path = tmp_path / "worker.log"
    with process._open_log(path) as other:
        other.write(b"a line of the other, before\n")
        other.flush()
        with process._open_log(path) as own:
            other.write(b"a line of the other, after\n")
            other.flush()
            own.write(b"our own line\n")
    assert path.read_text() == "a line of the other, after\nour own line\n"


@LINUX
def test_a_killed_worker_gives_one_sentence_and_the_next_press_works(make):
    owner = make()
    pid, numbers = owner.pid(), [owner.ask("slow"), owner.ask()]
    owner.busy(numbers[0])
    os.kill(pid, signal.SIGKILL)
    for number in numbers:
        last = owner.until(number)[-1]
        assert last.kind == "unexpected"
        assert (
            last.message == "The worker process stopped (it was killed, or the computer ran "
            "out of memory); press Segment again."
        )
        assert "exit code -9" in last.details
    assert not owner.alive
    assert not owner.poll()
    assert owner.until(owner.ask())[-1].event == "result"
    assert owner.ready
    os.kill(owner.pid(), signal.SIGKILL)  # idle: nobody need hear of it
    while owner.alive:
        time.sleep(0.01)
    assert not owner.poll()
    assert owner.until(owner.ask())[-1].event == "result"


def test_a_crash_in_c_leaves_its_trace(make):
    owner = make()
    last = owner.until(owner.ask("crash"))[-1]
    # by faulthandler
    assert "press Segment again" in last.message
    assert "worker_stand_in.py" in last.details


def test_a_worker_that_cannot_start(make, tmp_path):
    owner = make(arguments=("-c", "import nothing_of_the_kind"))
    owner.start()
    last = owner.until(owner.ask())[-1]
    assert "could not start (exit code 1)" in last.message
    assert str(owner.log_path) in last.message
    assert "nothing_of_the_kind" in last.details
    other = make(python=str(tmp_path / "no Python"))
    other.start()
    last = other.until(other.ask())[-1]
    assert "could not be started" in last.message
    assert "no Python" in last.message
    assert not other.alive


@LINUX
def test_a_training_gets_a_process_in_which_no_other_engine_has_run(make, tmp_path):
    owner = make()
    first = owner.pid()
    assert owner.until(owner.ask(engine="onnx"))[-1].event == "result"
    assert owner.pid() == first
    training = {"request": {"source": "x"}, "output": str(tmp_path / "run")}
    owner.cancel(owner.submit("train", **training))
    second = owner.pid()
    assert second != first and gone(first)
    owner.cancel(owner.submit("train", **training))
    assert owner.pid() == second  # torch alone has run there


def test_packages_that_are_missing_and_then_there(make, tmp_path):
    owner = make(NEEDS=str(tmp_path / "torch"))
    last = owner.until(owner.ask())[-1]
    assert last.kind == "user"
    assert last.message.startswith("The Python package torch is missing; press the button")
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
        "from Testing.helpers.worker_owner import Owner; from pathlib import Path\n"
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
    assert cancelled_in(owner, number) < 2 + slack
    assert gone(pid, front)
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
        "import os, pathlib, runpy, sys, time\n"
        f"pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()))\n"
        "time.sleep(1)\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    launcher.write_text(f'#!/bin/sh\n"{sys.executable}" "{slow}" "$@"\nexit $?\n')
    launcher.chmod(0o755)
    owner = make(python=launcher)
    owner.ask()
    end = time.monotonic() + 60
    while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < end:
        time.sleep(0.01)
    pid = int(pid_file.read_text())
    assert lives(pid)
    assert owner._process.server_pid is None
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
    assert gone(pid, seconds=1)
    assert not owner.alive
    events = [e for e in owner.poll() if e.final]
    assert [(e.id, e.kind) for e in events] == ([(number, "cancelled")] if deed else [])
    with pytest.raises(RuntimeError, match="closed"):
        owner.submit("ping")
    owner.close()


@LINUX
def test_ctrl_c_in_the_terminal_is_not_for_the_worker(shared):
    pid = shared.pid()
    os.kill(pid, signal.SIGINT)
    assert shared.until(shared.ask())[-1].event == "result"
    assert shared.pid() == pid


def test_a_log_that_grew_long_begins_anew_and_one_that_cannot_be_written_is_done_without(
    make, tmp_path
):
    (tmp_path / "worker.log").write_bytes(b"old\n" * 600_000)
    owner = make()
    assert owner.until(owner.ask("print"))[-1].event == "result"
    assert "old" not in owner.log
    (tmp_path / "file").write_text("")
    owner = make()
    owner.log_path = tmp_path / "file" / "log"
    assert owner.until(owner.ask("print"))[-1].event == "result"
    owner = make()
    owner.log_path = None
    assert owner.until(owner.ask("die"))[-1].details == "exit code 9"


def test_apples_gpu_may_leave_to_the_cpu_what_it_lacks_unless_the_user_says_otherwise():
    code = "import os; print(os.environ['PYTORCH_ENABLE_MPS_FALLBACK'])"
    others = {name: value for name, value in os.environ.items() if "MPS" not in name}
    for users, expected in (({}, "1"), ({"PYTORCH_ENABLE_MPS_FALLBACK": "0"}, "0")):
        environment = own_environment({**others, **users})
        run = [sys.executable, "-c", code]
        done = subprocess.run(run, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected


def test_what_a_launcher_prints_before_is_no_answer(make):
    greeting = (
        "import runpy; print('Welcome to Slicer'); print('[1, 2]'); print('{\"id\": 1}',"
        f" flush=True); runpy.run_path({STAND_IN!r}, run_name='__main__')"
    )
    owner = make(arguments=("-c", greeting))
    assert owner.until(owner.ask())[-1].event == "result"
