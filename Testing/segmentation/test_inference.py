"""Arrays through a network: whole or in windows must be the same, and every window can be the
last.
"""

import numpy as np
import pytest
import torch

from MedLLMSegLib import Cancelled, UserError
from MedLLMSegLib.segmentation.inference import (
    LACKING,
    ON_CPU,
    SMALLER_TILES,
    choose_device,
    memory_notes,
    predict,
)

CPU, META = torch.device("cpu"), torch.device("meta")


class Local(torch.nn.Module):
    """Looks at single voxels only, so that windows cannot matter."""

    def forward(self, image):  # (B, 1, K, J, I) -> (B, 2, K, J, I)
        return torch.cat((image, image.square()), 1)


@pytest.fixture
def array():
    return np.random.default_rng(0).normal(size=(40, 52, 33)).astype(np.float32)


@pytest.mark.parametrize("window", ((64, 64, 64), (16, 16, 16), (40, 24, 33)))
def test_windows_change_nothing(array, window):
    logits = predict(Local(), array, CPU, window)
    assert logits.shape == (2, 40, 52, 33)
    assert logits.dtype == np.float32
    assert np.allclose(logits, np.stack((array, array**2)), atol=1e-4)


def test_progress_rises_window_by_window_and_can_stop_the_work(array):
    seen = []
    predict(Local(), array, CPU, (16, 16, 16), progress=lambda stage, f: seen.append(f))
    assert len(seen) > 20
    assert seen == sorted(seen)
    assert seen[0] >= 0
    assert 0.9 < seen[-1] <= 1

    def stop(stage, fraction):
        seen.append(fraction)
        if fraction > 0.5:
            raise Cancelled

    seen.clear()
    with pytest.raises(Cancelled):
        predict(Local(), array, CPU, (16, 16, 16), progress=stop)
    assert seen[-1] < 0.6


def test_devices():
    assert choose_device("cpu") == CPU
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    for name in ("tpu", "cuda:x", "cpu:", "xpu"):
        with pytest.raises(UserError, match="not a device"):
            choose_device(name)
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no usable"):
            choose_device("cuda")


def test_a_gpu_by_its_number(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert choose_device("cuda:1") == torch.device("cuda:1")
    assert choose_device() == torch.device("cuda")
    for name in ("cuda:2", "cpu:1"):
        with pytest.raises(UserError, match=f'no usable "{name}"'):
            choose_device(name)


class Small(Local):
    """A device whose memory holds so many voxels at once; what is said beyond them is CUDA's or
    the CPU allocator's.
    """

    def __init__(self, most_voxels, error=None):
        super().__init__()
        error = error or torch.OutOfMemoryError("CUDA out of memory")
        self.most_voxels, self.error, self.tried, self.moved = most_voxels, error, [], []

    def to(self, device):
        self.moved.append(device.type)
        return super().to(device)

    def forward(self, image):
        self.tried.append((image.device.type, tuple(image.shape[2:])))
        if image.device.type == "meta" or image[0, 0].numel() > self.most_voxels:
            raise self.error
        return super().forward(image)


CPU_FULL = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried to"
    " allocate"
)


@pytest.mark.parametrize(
    "error",
    (
        torch.OutOfMemoryError("CUDA out of memory"),
        CPU_FULL,
        RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"),
    ),
)
def test_too_little_memory_is_answered_by_smaller_tiles_and_said(error):
    array, stages = np.random.default_rng(0).normal(size=(40, 130, 70)).astype(np.float32), []
    network = Small(33 * 64 * 64, error)
    logits = predict(
        network, array, CPU, (96, 96, 96), progress=lambda stage, f: stages.append(stage)
    )
    assert np.allclose(logits, np.stack((array, array**2)), atol=1e-4)
    assert [shape for _, shape in network.tried[:3]] == [(40, 96, 70), (32, 48, 35), (32, 48, 35)]
    assert stages[0] == "segment"
    assert set(stages[1:]) == {SMALLER_TILES}
    assert memory_notes(stages, CPU) == (
        "The computer's memory was too small; smaller tiles were used.",
    )
    assert memory_notes(stages, META) == (
        "The GPU's memory was too small; smaller tiles were used.",
    )


def test_the_cpu_takes_over_at_full_size_where_a_gpu_holds_nothing():
    """The device "meta" stands for a GPU on which nothing fits."""
    array, stages = np.random.default_rng(0).normal(size=(10, 96, 40)).astype(np.float32), []
    network = Small(10**9)
    logits = predict(
        network, array, META, (96, 96, 96), progress=lambda stage, f: stages.append(stage)
    )
    assert np.allclose(logits, np.stack((array, array**2)), atol=1e-4)
    assert network.tried[0] == ("meta", (10, 96, 40))
    assert network.tried[-1] == ("cpu", (10, 96, 40))
    assert network.moved[-2:] == ["cpu", "meta"]  # a training goes on where it was
    assert stages[-1] == ON_CPU
    assert memory_notes(stages, META) == ("The GPU's memory was too small; the CPU was used.",)


@pytest.mark.parametrize(
    "error",
    (
        NotImplementedError(
            "The operator 'aten::_adaptive_avg_pool3d' is not currently implemented for the MPS"
            " device."
        ),
        RuntimeError("Conv3D is not supported on MPS"),
        RuntimeError("ConvTranspose 3D is not supported on MPS"),
        RuntimeError("ConvTranspose 3D with BF16 or FP16 types is not supported on MPS"),
    ),
)  # torch 2.2, before 2.8, and since
def test_the_cpu_takes_over_at_once_where_a_gpu_lacks_an_operation(error):
    array, stages = np.random.default_rng(0).normal(size=(10, 96, 40)).astype(np.float32), []
    network = Small(10**9, error)
    logits = predict(
        network, array, META, (96, 96, 96), progress=lambda stage, f: stages.append(stage)
    )
    assert np.allclose(logits, np.stack((array, array**2)), atol=1e-4)
    assert [device for device, _ in network.tried] == ["meta", "cpu"]
    assert network.moved[-2:] == [
        "cpu",
        "meta",
    ]
    assert stages[-1] == LACKING
    assert memory_notes(stages, META) == (
        "This GPU lacks an operation that the model needs; the CPU was used.",
    )
    with pytest.raises(NotImplementedError):  # on the CPU itself it is a defect
        predict(Small(0, NotImplementedError("forward")), array, CPU, (96, 96, 96))


def test_tiles_are_never_smaller_than_32_voxels_except_where_the_scan_is():
    network = Small(0, CPU_FULL)
    with pytest.raises(RuntimeError, match="allocate"):
        predict(network, np.zeros((10, 100, 40), np.float32), CPU, (96, 96, 96))
    assert [shape for _, shape in network.tried] == [(10, 96, 40), (10, 48, 32), (10, 32, 32)]


def test_where_something_else_is_wrong_the_error_comes_through(array):
    network = Small(0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        predict(network, array, CPU, (64, 64, 64))
    assert len(network.tried) == 1


def test_cancelling_works_while_memory_is_short(array):
    def stop(stage, fraction):
        if stage == SMALLER_TILES:
            raise Cancelled

    with pytest.raises(Cancelled):
        predict(Small(35**3), array, CPU, (64, 64, 64), progress=stop)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_real_gpu_that_is_too_full():
    device, array = (
        torch.device("cuda"),
        np.random.default_rng(0).normal(size=(128, 256, 256)).astype(np.float32),
    )
    network, stages = torch.nn.Conv3d(1, 64, 3, padding=1), []
    expected = predict(network, array, CPU, (64, 64, 64))
    torch.cuda.set_per_process_memory_fraction(
        3e8 / torch.cuda.get_device_properties(device).total_memory
    )
    try:
        logits = predict(
            network, array, device, (256, 256, 256), progress=lambda stage, f: stages.append(stage)
        )
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert memory_notes(stages, device)
    assert np.allclose(logits, expected, atol=1e-2)
    assert next(network.parameters()).device.type == "cuda"
