"""Networks whose speed and agreement in bf16 a test chooses, on a clock that only they move."""

import numpy as np
import torch

from MedLLMSegLib.segmentation.precision import NetworkInUse, decide

SHA = "ab" * 32


class Clock:
    seconds = 0.0


class Network(torch.nn.Module):
    """Calls bright voxels foreground.

    In bf16 it is so many times as fast, and a share of the foreground is lost.
    """

    def __init__(self, clock, speed=2.0, lost=0.0, error=None):
        super().__init__()
        self.clock, self.speed, self.lost, self.error = clock, speed, lost, error
        self.calls = []

    def forward(self, image):  # (B, 1, K, J, I) -> (B, 2, K, J, I)
        rounded = torch.is_autocast_enabled("cpu")
        self.calls.append("bf16" if rounded else "fp32")
        self.clock.seconds += 1 / self.speed if rounded else 1
        score = image - 0.5
        if rounded and self.error:
            raise self.error
        if rounded and self.lost:
            bright = torch.nonzero(score[0, 0] > 0)
            gone = bright[: round(len(bright) * self.lost)]
            score[0, 0, gone[:, 0], gone[:, 1], gone[:, 2]] = -1
        return torch.cat((torch.zeros_like(score), score), 1)


def scan(shape=(20, 20, 20), box=(slice(5, 15),) * 3):
    array = np.zeros(shape, np.float32)
    array[box] = 1
    return array


def in_use(network=None, device="cpu", requested="auto", sha256=SHA, **labels):
    return NetworkInUse(network, torch.device(device), requested, sha256, **labels)


def ask(network, array=None, window=(32, 32, 32), progress=None, **options):
    array = scan() if array is None else array
    return decide(in_use(network, **options), array, window, progress)
