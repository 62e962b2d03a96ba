"""A training's curve: each row is returned once."""

import json
import os

from MedLLMSegLib.worker.training_history import TrainingHistory


def test_each_row_of_a_curve_is_told_once(tmp_path):
    history, path = TrainingHistory(tmp_path), tmp_path / "history.json"
    rows = [
        {"step": 10, "loss": 0.9},
        {"step": 10, "val_dice": 0.1},
        {"step": 20, "loss": 0.8},
        {"step": 30, "loss": 0.7},
    ]

    def write(count, stamp):
        path.write_text(json.dumps(rows[:count]))
        os.utime(path, ns=(stamp, stamp))

    assert history.new_rows() == []
    write(2, 1_000)
    assert history.new_rows() == rows[:2]
    assert history.new_rows() == []
    write(4, 2_000)
    assert history.new_rows() == rows[2:]
    write(3, 3_000)  # a training that was killed goes on from before its last rows
    assert history.new_rows() == []
    path.write_text("[{")
    os.utime(path, ns=(4_000, 4_000))
    assert history.new_rows() == []
