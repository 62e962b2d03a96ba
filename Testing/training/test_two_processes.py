"""Two processes of torchrun train as one: the loop, and the command from cases to the model."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from MedLLMSegLib.cli import main as cli
from MedLLMSegLib.training.segmenter import segmenter_session as session
from Testing.helpers.toy_training import QUICK, loss_curve, toy_trainer, write_toy_data

SCRIPT = """
import sys
sys.path.insert(0, {root!r})
from Testing.training.test_two_processes import train_both
sys.exit(train_both(sys.argv[1], sys.argv[2]))
"""
LAUNCH = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
COMMAND = ["train", "--steps", "3", "--validations", "1", "--window", "16", "24", "16"]
COMMAND += ["--batch", "2", "--precision", "fp32", "--device", "cpu"]


def train_both(data, output):
    """One training of the loop and one of the command, in this process and those beside it."""
    torch.set_num_threads(1)
    session.IN_MEMORY_VOXELS = 0  # the prepared cases are shared through the disk
    # Without dropout, whose masks each process draws for itself.
    config = replace(QUICK, steps=4, batch=4, optimiser="muon")
    trainer = toy_trainer(Path(output) / "loop", config, dropout=0.0)
    sys.stdout.write(f"world size {trainer.fabric.world_size}\n")  # in one piece: two write at once
    sys.stdout.flush()
    trainer.run()
    return cli.main([*COMMAND, "--data", str(data), "--output", str(Path(output) / "command")])


@dataclass(frozen=True)
class Runs:
    """Folders of the same trainings by one process and by two, and what the two printed."""

    one: Path
    two: Path
    printed: str


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    data, script = write_toy_data(folder / "data"), folder / "both.py"
    script.write_text(SCRIPT.format(root=str(Path(__file__).parents[2])))
    process = subprocess.Popen(
        [*LAUNCH, script, data, folder / "two"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "IN_MEMORY_VOXELS", session.IN_MEMORY_VOXELS)  # put back at the end
        assert train_both(data, folder / "one") == 0
    torch.set_num_threads(threads)
    printed, errors = process.communicate()
    assert process.returncode == 0, errors[-3000:]
    return Runs(folder / "one", folder / "two", printed)


@pytest.mark.slow
def test_two_processes_train_as_one_with_the_same_batch(runs):
    assert runs.printed.count("world size 2") == 2
    curve = loss_curve(runs.one / "loop")
    assert sorted(curve) == [1, 2, 3, 4]
    assert loss_curve(runs.two / "loop") == pytest.approx(curve, abs=2e-4)


def test_two_processes_make_the_model_of_one(runs):
    assert runs.printed.count("the model is in") == 1
    assert runs.printed.count("Plan for 4 training cases") == 1
    one, two = (
        json.loads((folder / "command/history.json").read_text()) for folder in (runs.one, runs.two)
    )
    for key in ("loss", "val_dice"):
        values = [row[key] for row in one if key in row]
        assert values
        assert [row[key] for row in two if key in row] == pytest.approx(values, abs=2e-3)
    assert (runs.two / "command/bundle/models").is_dir()
    assert not (runs.two / "command/prepared").exists()


def test_copies_of_scans_go_also_after_a_kill_between_the_model_and_them(runs, monkeypatch):
    monkeypatch.setattr(session, "IN_MEMORY_VOXELS", 0)
    copies = runs.one / "command" / "prepared" / "train"
    copies.mkdir(parents=True)
    (copies / "case0-image.npy").write_bytes(b"half")
    data = str(runs.one.parent / "data")
    assert cli.main([*COMMAND, "--data", data, "--output", str(runs.one / "command")]) == 0
    assert not copies.parent.exists()
