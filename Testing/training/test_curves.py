"""What a training shows of itself while it runs: the curve, the outlines, TensorBoard's events."""

import time

import numpy as np
import pytest

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.training.curves import Watcher

HISTORY = [
    {"step": 1, "loss": 1.5, "lr": 0.1, "seconds": 1.0},
    {"step": 2, "loss": 1.0, "lr": 0.2, "seconds": 2.0},
    {"step": 2, "val_dice": 0.5},
]


def shown():
    label = np.zeros((1, 6, 12, 12), np.uint8)
    label[0, 2:4, 3:9, 3:9] = 1
    return [
        (
            {"id": "anna", "image": label.astype(np.float32), "label": label},
            np.roll(label[0], 2, axis=1),
        )
    ]


def test_curve_outlines_and_events_lie_beside_each_other(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    watch = Watcher(tmp_path, "toy")
    watch(2, HISTORY, shown())
    watch(4, [*HISTORY, {"step": 4, "loss": 0.8, "lr": 0.1, "seconds": 4.0}], shown())
    for name in ("curve.png", "examples/step_000002.png", "examples/step_000004.png"):
        assert (tmp_path / name).stat().st_size > 3000
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, round(e.value, 3)) for e in events.Scalars("loss")] == [
        (1, 1.5),
        (2, 1.0),
        (4, 0.8),
    ]  # each row once
    assert [(e.step, e.value) for e in events.Scalars("val_dice")] == [(2, 0.5)]


def test_a_training_that_goes_on_shows_its_curve_once(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    Watcher(tmp_path, "toy")(2, HISTORY, shown())
    time.sleep(1.1)  # event files are named by the second
    Watcher(tmp_path, "toy")(
        4, [*HISTORY, {"step": 4, "loss": 0.8, "lr": 0.1, "seconds": 4.0}], shown()
    )
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [e.step for e in events.Scalars("loss")] == [1, 2, 4]


def test_tensorboards_full_disk_is_one_sentence(tmp_path, monkeypatch):
    watch = Watcher(tmp_path, "toy")

    def full():
        raise OSError(
            28, "No space left on device"
        )  # as its writing thread hands it on, without a file name

    monkeypatch.setattr(watch.writer, "flush", full)
    with pytest.raises(UserError, match=r"tensorboard.* disk or quota is full"):
        watch(2, HISTORY, shown())
