"""Arrays through a network: whole or in windows must be the same, and every window can be the last."""
import numpy as np
import pytest
import torch

from MedLLMSegLib import Cancelled, UserError
from MedLLMSegLib.inference import choose_device, predict

CPU = torch.device("cpu")


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
    assert logits.shape == (2, 40, 52, 33) and logits.dtype == np.float32
    assert np.allclose(logits, np.stack((array, array ** 2)), atol=1e-4)


def test_progress_rises_window_by_window_and_can_stop_the_work(array):
    seen = []
    predict(Local(), array, CPU, (16, 16, 16), progress=lambda stage, f: seen.append(f))
    assert len(seen) > 20 and seen == sorted(seen) and 0 <= seen[0] and 0.9 < seen[-1] <= 1

    def stop(stage, fraction):
        seen.append(fraction)
        if fraction > 0.5:
            raise Cancelled

    seen.clear()
    with pytest.raises(Cancelled):
        predict(Local(), array, CPU, (16, 16, 16), progress=stop)
    assert seen[-1] < 0.6


def test_devices():
    assert choose_device("cpu") == CPU and choose_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(UserError, match="no device"):
        choose_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no usable"):
            choose_device("cuda")
