"""Where a training runs is read from what torchrun and Slurm's srun say."""

import sys
from types import SimpleNamespace

import pytest
import torch

from MedLLMSegLib import UserError
from MedLLMSegLib.training.devices import (
    fastest_precision,
    is_first_process,
    make_fabric,
    precision_of,
    process_counts,
    sample_workers,
)

NAMES = (
    "TORCHELASTIC_RUN_ID",
    "LOCAL_WORLD_SIZE",
    "WORLD_SIZE",
    "RANK",
    "SLURM_PROCID",
    "SLURM_NTASKS",
    "SLURM_NNODES",
)


@pytest.mark.parametrize(
    "stated, count, first",
    [
        ({}, (1, 1), True),
        (
            {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "4", "RANK": "0"},
            (2, 2),
            True,
        ),
        (
            {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "4", "RANK": "3"},
            (2, 2),
            False,
        ),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_NNODES": "2"}, (4, 2), True),
        ({"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_NNODES": "2"}, (4, 2), False),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1", "SLURM_NNODES": "1"}, (1, 1), True),
    ],
)
def test_the_processes_and_the_one_that_speaks(monkeypatch, stated, count, first):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in stated.items():
        monkeypatch.setenv(name, value)
    assert process_counts() == count
    assert is_first_process() is first


@pytest.fixture
def asked(monkeypatch):
    """What Fabric is asked for, on a computer with four GPUs and no other process."""
    asked = {}
    fabric = SimpleNamespace(
        Fabric=lambda **options: asked.update(options) or SimpleNamespace(launch=lambda: None)
    )
    monkeypatch.setitem(sys.modules, "lightning.fabric", fabric)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: (9, 0))
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    return asked


@pytest.mark.parametrize(
    "device, accelerator, devices",
    [
        ("auto", "gpu", 1),
        ("cuda", "gpu", 1),
        ("cuda:2", "gpu", [2]),
        ("cuda:0", "gpu", [0]),
        ("cpu", "cpu", 1),
        ("cpu:0", "cpu", 1),
    ],
)
def test_the_gpu_that_was_named_is_the_one_that_trains(asked, device, accelerator, devices):
    make_fabric(device)
    assert (asked["accelerator"], asked["devices"], asked["num_nodes"], asked["strategy"]) == (
        accelerator,
        devices,
        1,
        "auto",
    )


def test_several_processes_take_a_gpu_each(asked, monkeypatch):
    for name, value in {
        "TORCHELASTIC_RUN_ID": "x",
        "LOCAL_WORLD_SIZE": "2",
        "WORLD_SIZE": "4",
    }.items():
        monkeypatch.setenv(name, value)
    make_fabric("cuda")
    assert (asked["devices"], asked["num_nodes"], asked["strategy"]) == (2, 2, "ddp")
    with pytest.raises(
        UserError, match="2 processes cannot share the device cuda:1; use --device cuda"
    ):
        make_fabric("cuda:1")


@pytest.mark.parametrize(
    "device, capability, cpu, precision",
    [
        ("cuda:1", (8, 6), False, "bf16"),
        ("cuda", (7, 5), True, "fp16"),
        ("cpu", None, True, "bf16"),
        ("cpu", None, False, "fp32"),
        ("mps", None, True, "fp32"),
    ],
)
def test_bf16_only_where_the_hardware_has_it(monkeypatch, device, capability, cpu, precision):
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: capability)
    monkeypatch.setattr("MedLLMSegLib.training.devices.cpu_has_bf16", lambda: cpu)
    assert fastest_precision(torch.device(device)) == precision


@pytest.mark.parametrize("cpu, found", [(True, "bf16"), (False, "fp32")])
@pytest.mark.parametrize("asked", [None, "bf16", "fp32"])
def test_what_is_asked_for_goes_before_what_is_fastest(monkeypatch, cpu, found, asked):
    monkeypatch.setattr("MedLLMSegLib.training.devices.cpu_has_bf16", lambda: cpu)
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    assert precision_of(make_fabric("cpu", asked)) == (asked or found)


def test_only_beside_a_gpu_do_other_processes_make_samples(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(12)), raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=6e8))
    assert sample_workers(torch.device("cpu"), 10) == 0
    assert sample_workers(torch.device("cuda"), 10) == 8
    assert sample_workers(torch.device("cuda"), 20_000_000) == 5
    assert sample_workers(torch.device("cuda"), 200_000_000) == 0
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert (
        sample_workers(torch.device("cuda"), 10) == 8
    )  # Slurm gives each process cores of its own
    for name, value in {
        "TORCHELASTIC_RUN_ID": "x",
        "LOCAL_WORLD_SIZE": "4",
        "WORLD_SIZE": "4",
    }.items():
        monkeypatch.setenv(name, value)
    assert sample_workers(torch.device("cuda"), 10) == 3  # four processes share the cores
    monkeypatch.setattr(sys, "platform", "win32")
    assert sample_workers(torch.device("cuda"), 10) == 0
