"""The logic with a real worker's process, whose engine is a stand-in; the shipped model runs in
test_real_head.py.
"""

import os
import signal
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: NOTHING ABOUT MRML WAS TESTED"
)
import slicer

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.slicer_bridge.logic import services
from MedLLMSegLib.slicer_bridge.logic.module_logic import SegmentationLogic
from MedLLMSegLib.worker.client import WorkerClient
from Testing.slicer_bridge.stand_in import in_stage, take_along

STAND_IN = str(Path(__file__).parents[1] / "helpers" / "worker_stand_in.py")


@pytest.fixture
def logic(tmp_path):
    def client():
        client = WorkerClient(
            services.python(),
            services.environment(),
            tmp_path / "worker.log",
            arguments=(STAND_IN,),
        )
        client.start()
        return client

    logic = SegmentationLogic(makeClient=client)
    yield logic
    logic.close()


@pytest.fixture
def add_scan(add_volume):
    """add_scan(name): the stand-in does as the name says."""
    return lambda name="scan": add_volume(
        np.random.default_rng(0).integers(0, 400, (8, 9, 10)).astype(np.int16), name=name
    )


def pid(logic):
    return logic._services.runner.client._process.popen.pid


def alive(number):
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_run_and_a_second_one_in_the_same_process(scene, add_scan, logic):
    scan = add_scan()
    node = logic.segment(scan, uncertainty=True)
    first = pid(logic)
    array = slicer.util.arrayFromVolume(scan)
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(
        node, node.GetSegmentation().GetNthSegmentID(0), scan
    )
    np.testing.assert_array_equal(mask > 0, array > array.mean())
    assert slicer.util.arrayFromVolume(logic.showUncertainty(node)).max() == pytest.approx(1 / 3)
    logic.segment(scan, node)
    assert pid(logic) == first
    assert logic.canRestore(node)


@pytest.mark.parametrize("deed", ["slow", "hang", "hang with the lock"])
def test_cancel_takes_two_seconds_at_most(scene, add_scan, logic, deed):
    scan = add_scan(deed)
    before = scene.GetNumberOfNodes()
    job = logic.segmentAsync(scan)
    take_along(logic, job, in_stage("segment"), times=20000)
    began = time.monotonic()
    logic.cancel(job)
    take_along(logic, job, times=5000)
    # half a second for a busy machine
    assert job.state == "cancelled"
    assert time.monotonic() - began < 2.5
    assert scene.GetNumberOfNodes() == before
    scan.SetName("scan")
    assert logic.segment(scan) is not None


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_worker_that_is_killed_is_one_sentence_and_the_next_press_works(scene, add_scan, logic):
    scan = add_scan("slow")
    before = scene.GetNumberOfNodes()
    job = logic.segmentAsync(scan)
    take_along(logic, job, in_stage("segment"), times=20000)
    os.kill(pid(logic), signal.SIGKILL)
    take_along(logic, job, times=5000)
    assert job.state == "failed"
    assert "press Segment again" in job.message
    assert job.message.count(". ") == 0
    assert scene.GetNumberOfNodes() == before
    scan.SetName("scan")
    assert logic.segment(scan) is not None


def test_what_the_worker_did_not_expect_has_details(add_scan, logic):
    job = take_along(logic, logic.segmentAsync(add_scan("unexpected")), times=20000)
    assert job.state == "failed"
    assert "Traceback" in job.details
    assert "\n" not in job.message
    job = take_along(logic, logic.segmentAsync(add_scan("user")), times=20000)
    assert (job.state, job.message) == ("failed", "The scan is upside down; turn it and try again.")


def test_closing_the_logic_leaves_no_process(add_scan, logic):
    job = logic.segmentAsync(add_scan("slow"))
    take_along(logic, job, in_stage("segment"), times=20000)
    number = pid(logic)
    logic.close()
    assert job.state == "cancelled"
    assert not alive(number)


def test_the_worker_runs_in_slicers_python_and_the_environment_of_its_start(tmp_path, monkeypatch):
    monkeypatch.setattr(slicer, "app", None, raising=False)
    assert services.python() == sys.executable
    assert services.environment() is None
    monkeypatch.setattr(slicer, "app", types.SimpleNamespace(slicerHome=str(tmp_path)))
    monkeypatch.setattr(slicer.util, "startupEnvironment", lambda: {"HOME": "/home/me"})
    monkeypatch.setenv("PATH", str(tmp_path / "launcher"))
    with pytest.raises(UserError, match="PythonSlicer"):
        services.python()
    for folder in ("bin", "launcher"):  # without Slicer's launcher, and with it
        program = tmp_path / folder / "PythonSlicer"
        program.parent.mkdir()
        program.write_text("#!/bin/sh")
        program.chmod(0o755)
        assert services.python() == str(program)
    assert services.environment() == {"HOME": "/home/me"}
