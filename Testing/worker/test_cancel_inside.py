"""A cancel is heard inside a network, its model stays loaded, and the wait for it is measured."""

import threading

import numpy as np
import pytest
import torch
from torch import nn

from MedLLMSegLib import Volume
from MedLLMSegLib.core.errors import Cancelled
from MedLLMSegLib.segmentation.layer_progress import before_layers
from MedLLMSegLib.worker.request_progress import RequestProgress
from MedLLMSegLib.worker.tasks import Tasks, library_engine
from MedLLMSegLib.worker.work_units import Patience, WorkUnits
from Testing.helpers.tiny_segmenter import oblique, tiny_bundle
from Testing.helpers.worker_owner import LINUX, cancelled_in, gone


class Counted(nn.Module):
    """A layer that counts its calls; the one of that number presses Cancel."""

    def __init__(self, ran: list[int], number: int, stop: threading.Event | None = None):
        super().__init__()
        self.ran, self.number, self.stop = ran, number, stop

    def forward(self, x):  # any shape -> the same
        self.ran.append(self.number)
        if self.stop is not None:
            self.stop.set()
        return x + 1


def test_a_cancel_inside_a_network_is_heard_at_the_next_layer():
    ran, stop = [], threading.Event()
    layers = [Counted(ran, n, stop if n == 2 else None) for n in range(6)]
    network, progress = nn.Sequential(*layers), RequestProgress(lambda message: None, 1, stop)
    with pytest.raises(Cancelled), before_layers(lambda _layer: progress.check()):
        network(torch.zeros(1))
    assert ran == [0, 1, 2]
    stop.clear()
    assert network(torch.zeros(1)).item() == 6  # whole as before, and nobody is asked any more


def test_the_longest_unit_of_a_stage_is_told(monkeypatch):
    now, sent, units = [100.0], [], WorkUnits()
    monkeypatch.setattr("MedLLMSegLib.worker.request_progress.time.monotonic", lambda: now[0])
    progress = RequestProgress(sent.append, 1, threading.Event(), units)

    def work(seconds):
        now[0] += seconds
        progress.check()

    progress("load", 0.0)
    now[0] += 4
    progress("segment", 0.0)
    work(0.01)
    work(2)  # told without waiting for the next window
    work(1)
    progress("segment", 0.5)
    assert [(m["stage"], m["unit_s"]) for m in sent] == [
        ("load", None),
        ("segment", None),
        ("segment", 2),
        ("segment", 2),
    ]
    assert units.longest("load") == 4
    RequestProgress(sent.append, 2, threading.Event(), units)("segment", 0.0)
    assert sent[-1]["unit_s"] == 2  # the next run knows it from the start


@pytest.mark.parametrize(
    "unit_s, seconds", [(None, 15), (0.001, 1.5), (0.5, 1.5), (2, 6), (5, 15), (60, 15)]
)
def test_three_units_and_at_most_fifteen_seconds(unit_s, seconds):
    assert Patience().seconds(unit_s) == seconds


def test_a_model_stays_loaded_though_its_network_was_left(tmp_path):
    """The library's own engine: a cancel after the first layer, and the next press."""
    stop, sent = threading.Event(), []
    tasks, bundle = Tasks(library_engine()), str(tiny_bundle(tmp_path / "tiny"))
    model = tasks.model(bundle, "cpu")
    first_layer = next(layer for layer in model.network.modules() if not list(layer.children()))
    handle = first_layer.register_forward_hook(lambda *_: stop.set())
    progress = RequestProgress(sent.append, 1, stop)
    array = np.random.default_rng(0).normal(size=(10, 40, 36)).astype(np.float32)
    scan = Volume(array, oblique(array.shape, (5.0, 1.5, 1.5)), "scan")
    with pytest.raises(Cancelled):
        tasks.engine.segment(scan, model, progress=progress)
    handle.remove()
    stop.clear()
    assert tasks.model(bundle, "cpu") is model
    result = tasks.engine.segment(scan, model, progress=progress)
    assert result.labels.array.shape == scan.array.shape


@LINUX
def test_a_busy_worker_gets_the_time_of_three_units(make, slack):
    """Its units of 0.8 s are known; the one in which it is cancelled takes 2 s."""
    owner = make(patience=Patience(), UNIT_S="0.8", LONG_UNIT_S="2")
    pid, number = owner.pid(), owner.ask("slows down")
    owner.until(number, lambda event: event.fraction >= 0.7)
    assert 1.5 < cancelled_in(owner, number) < 2.4 + slack
    assert owner.pid() == pid
    assert owner.alive


@LINUX
def test_a_model_that_is_being_loaded_is_waited_for(make, slack):
    """How long that takes is not known; then it is there for the next press."""
    owner = make(patience=Patience(), LOAD_S="3")
    pid, number = owner.pid(), owner.ask()
    owner.until(number, lambda event: event.stage == "load")
    assert 1.5 < cancelled_in(owner, number) < 3 + slack
    assert owner.pid() == pid


@LINUX
def test_whoever_never_listens_is_killed_at_last(make, slack):
    owner = make(patience=Patience(least_s=0.5, most_s=1.0))
    pid, number = owner.pid(), owner.ask("hang")
    owner.busy(number)
    assert 0.5 <= cancelled_in(owner, number) < 1.5 + slack
    assert gone(pid)
