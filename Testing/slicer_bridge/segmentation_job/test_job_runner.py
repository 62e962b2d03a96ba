"""Several runs at once, callbacks, the worker and the end of a logic."""

import gc
import tempfile
from pathlib import Path

import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
from MedLLMSegLib.core.errors import Cancelled
from MedLLMSegLib.slicer_bridge.logic.module_logic import SegmentationLogic
from Testing.helpers.segmentation_jobs import scene_contents, segment_centres, start_run
from Testing.slicer_bridge.stand_in import in_stage, take_along


def test_two_runs_at_once_end_in_two_nodes(scene, scan, logic):
    one, two = start_run(logic, scan, side="left")[0], start_run(logic, scan, side="right")[0]
    take_along(logic, one)
    take_along(logic, two)
    assert all("Left" in name for name in segment_centres(one.segmentationNode))
    assert all("Right" in name for name in segment_centres(two.segmentationNode))


def test_callbacks_may_poll_cancel_start_again_and_fail(scene, scan, logic, capsys):
    again = []

    def progress(stage, fraction, secondsLeft):
        logic.poll()  # what processEvents does in Slicer when its timer is due
        if stage == "localize":
            raise Cancelled
        if stage == "read":
            raise ValueError("a mistake in somebody's script")

    job = logic.segmentAsync(scan, progress, lambda job: again.append(logic.segmentAsync(scan)))
    take_along(logic, job)
    assert job.state == "cancelled"
    assert "a mistake in somebody's script" in capsys.readouterr().err
    assert take_along(logic, again[0]).state == "done"


def test_the_blocking_call_can_be_interrupted(scene, scan, logic, client):
    before = scene_contents(scene)

    def interrupt(stage, fraction):
        if stage == "load":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        logic.segment(scan, progress=interrupt)
    logic.poll()  # the worker lets go
    assert client.cancelled == [1]
    assert scene_contents(scene) == before


def test_polling_starts_with_the_first_job_and_stops_with_the_last(scan, client):
    class Polled(SegmentationLogic):
        calls = ""

        def _startPolling(self):
            self.calls += "start "

        def _stopPolling(self):
            self.calls += "stop "

    logic = Polled(makeClient=lambda: client)
    job = logic.segmentAsync(scan)
    assert logic.calls == "start "
    take_along(logic, job)
    assert logic.calls == "start stop "
    logic.close()


def test_closing_the_logic_ends_jobs_and_worker_and_calls_nobody(
    scene, scan, client, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before, client.hold = scene_contents(scene), "segment"
    logic = SegmentationLogic(makeClient=lambda: client)
    job, told = start_run(logic, scan)
    take_along(logic, job, in_stage("segment"))
    told.clear()
    logic.close()
    logic.poll()
    logic.cancel(job)
    assert job.state == "cancelled"
    assert client.closed
    assert client.cancelled == [1]
    assert not told
    assert scene_contents(scene) == before
    assert not list(tmp_path.iterdir())
    logic.close()


def test_slicer_itself_never_imports_torch():
    """The worker's process does; Slicer's own must not, as its packages may be exchanged while
    it runs.
    """
    import subprocess
    import sys

    code = (
        "import sys, slicer, slicer.util\nfrom MedLLMSegLib.slicer_bridge.logic import"
        " module_logic, services, training_job, copyable_calls\nfrom"
        " MedLLMSegLib.slicer_bridge.install import packages\nfrom"
        " MedLLMSegLib.slicer_bridge.selftest import self_test\nprint({'torch', 'monai',"
        " 'matplotlib', 'safetensors', 'einops'} & set(sys.modules))"
    )
    root = str(Path(__file__).resolve().parents[3])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False
    )
    assert done.stdout.strip().splitlines()[-1] == "set()", done.stdout + done.stderr


def test_a_logic_that_nobody_holds_any_more_ends_its_worker(scan, client):
    logic = SegmentationLogic(makeClient=lambda: client)
    logic.segment(scan)
    assert not client.closed
    del logic
    gc.collect()
    assert client.closed


@pytest.mark.parametrize("end", ("done", "failed", "cancelled", "closed"))
def test_volumes_reach_the_worker_as_files_that_are_removed(scan, logic, client, tmp_path, end):
    """With the run, however it ended; with the session, what holds them."""
    if end == "failed":
        client.fails = {"kind": "unexpected", "message": "It was killed.", "details": ""}
    client.hold = "segment"
    job, _ = start_run(logic, scan)
    take_along(logic, job, in_stage("segment"))
    runs = list(tmp_path.glob("MedLLMSeg-*/run-*"))
    assert len(runs) == 1
    assert (runs[0] / "volume/array.npy").is_file()
    if end == "closed":
        logic.close()
    elif end == "cancelled":
        logic.cancel(job)
    client.hold = None
    if end != "closed":
        take_along(logic, job)
        assert job.state == end
        take_along(logic, job, until=lambda _: not runs[0].exists())
    logic.close()
    assert not list(tmp_path.iterdir())


def test_threads_get_on_while_slicers_window_keeps_the_interpreter(monkeypatch):
    """Slicer's main thread holds the lock in Qt's loop, as here: what reads and writes files
    would get one step a poll.
    """
    import ctypes
    import os
    import time

    from MedLLMSegLib.slicer_bridge.logic import job_runner, jobs

    keep = ctypes.PyDLL(None).usleep  # unlike CDLL, it keeps the lock

    def polls(lent):
        monkeypatch.setattr(job_runner, "THREAD_SLICE_S", lent)
        runner, job, count = job_runner.JobRunner(lambda: None), jobs.Job(), 0
        runner.add(
            job, runner.in_thread(lambda: [(os.stat("/"), time.sleep(0.0002)) for _ in range(60)])
        )
        while job.running:
            runner.poll()
            keep(20_000)
            count += 1
        runner.close()
        assert job.state == "done"
        return count

    assert polls(job_runner.THREAD_SLICE_S) < polls(0.0) / 2
