"""Where a training runs is read from what torchrun and Slurm's srun say."""
import sys
from types import SimpleNamespace

import pytest
import torch

from MedLLMSegLib.training.devices import first_process, processes, sample_workers

NAMES = ("TORCHELASTIC_RUN_ID", "LOCAL_WORLD_SIZE", "WORLD_SIZE", "RANK", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_NNODES")


@pytest.mark.parametrize("stated, count, first", [
    ({}, (1, 1), True),
    ({"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "4", "RANK": "0"}, (2, 2), True),
    ({"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "4", "RANK": "3"}, (2, 2), False),
    ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_NNODES": "2"}, (4, 2), True),
    ({"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_NNODES": "2"}, (4, 2), False),
    ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1", "SLURM_NNODES": "1"}, (1, 1), True),
])
def test_the_processes_and_the_one_that_speaks(monkeypatch, stated, count, first):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in stated.items():
        monkeypatch.setenv(name, value)
    assert processes() == count and first_process() is first


def test_only_beside_a_gpu_do_other_processes_make_samples(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(12)), raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=6e8))
    assert sample_workers(torch.device("cpu"), 10) == 0 and sample_workers(torch.device("cuda"), 10) == 8
    assert sample_workers(torch.device("cuda"), 20_000_000) == 5 and sample_workers(torch.device("cuda"), 200_000_000) == 0
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert sample_workers(torch.device("cuda"), 10) == 8  # Slurm gives each process cores of its own
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    assert sample_workers(torch.device("cuda"), 10) == 3  # four processes share the cores
    monkeypatch.setattr(sys, "platform", "win32")
    assert sample_workers(torch.device("cuda"), 10) == 0
