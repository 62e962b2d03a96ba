"""Rows: a prepared array through a network in windows, labels out."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from MedLLMSegLib.core.types import Json, Triple
from MedLLMSegLib.segmentation.inference import choose_device

from . import product, rivals
from .phantoms import FreeNetwork, body
from .row import BOTH, OURS, Prepare, Row, Run, Setting

# The highest class that wins somewhere, so that 5 to 10 % of the voxels lie at a boundary, as in a
# brain of 32 structures. All classes have logits everywhere.
MOST_TOP = (14.0, 6.0)


@lru_cache(maxsize=1)
def _image(setting: Setting, classes: int) -> NDArray[np.float32]:
    return body(_shape(setting), min(classes - 1.0, setting.pick(*MOST_TOP)))


def _shape(setting: Setting) -> Triple:
    return setting.pick((160, 256, 256), (64, 128, 128))


def _window(setting: Setting) -> Triple:
    return setting.pick((96, 96, 96), (48, 48, 48))


def _on_device(setting: Setting, classes: int) -> tuple[FreeNetwork, Tensor]:
    """The network, and the image (1, 1, K, J, I)."""
    device = choose_device(setting.device)
    image = torch.from_numpy(_image(setting, classes))[None, None]
    return FreeNetwork(classes).to(device), image.to(device)


def _ours(classes: int) -> Prepare:
    def prepare(setting: Setting) -> Run:
        image, window = _image(setting, classes), _window(setting)
        network = FreeNetwork(classes)
        return Run(
            lambda: product.labels_in_windows(network, image, classes, setting.device, window)
        )

    return prepare


def _alone(classes: int) -> Prepare:
    def prepare(setting: Setting) -> Run:
        network, image = _on_device(setting, classes)
        boxes = rivals.window_boxes(_shape(setting), _window(setting), product.OVERLAP)
        return Run(lambda: rivals.network_alone(network, image, boxes))

    return prepare


def _monai(classes: int) -> Prepare:
    def prepare(setting: Setting) -> Run:
        network, image = _on_device(setting, classes)
        return Run(rivals.monai_windows(network, image, _window(setting), product.OVERLAP))

    return prepare


def _facts(setting: Setting, classes: int) -> Json:
    ours, theirs = (np.asarray(way(classes)(setting).call()) for way in (_ours, _monai))
    at_boundary = np.zeros(ours.shape, bool)
    for axis in range(3):
        near = [slice(None)] * 3
        near[axis] = slice(1, None)
        at_boundary[tuple(near)] |= np.diff(ours.astype(np.int16), axis=axis) != 0
    return {
        "voxels other than MONAI's": int((ours != theirs).sum()),
        "voxels": int(ours.size),
        "part of the voxels next to another class": round(float(at_boundary.mean()), 4),
    }


def _row(classes: int, aim: str) -> Row:
    return Row(
        f"windows-{classes}",
        f"75 windows of 96^3 over 256 x 256 x 160, nearly free network, {classes} classes",
        {OURS: _ours(classes), "network alone": _alone(classes), "MONAI": _monai(classes)},
        aim=f"{aim} of the network alone; 0.5 of MONAI's memory beside it",
        facts=lambda setting: _facts(setting, classes),
        beside="network alone",
        rounds=3 if classes < 10 else 2,
        cuda=True,
        scales=BOTH,
    )


ROWS = (_row(3, "1.06"), _row(32, "1.2"))
