"""The entries of the panel's lists besides nodes and models; saved with the scene by name."""

from __future__ import annotations

import enum

from .device_text import found_device
from .translation import _


class Side(enum.Enum):
    """Which side to segment; of a crop around one organ, which one it shows."""

    AUTOMATIC = None
    LEFT = "left"
    RIGHT = "right"

    def label(self) -> str:
        """What the panel's list shows."""
        return {
            Side.AUTOMATIC: _("Both, or not known"),
            Side.LEFT: _("Left"),
            Side.RIGHT: _("Right"),
        }[self]


class Engine(enum.Enum):
    """What computes a segmentation's networks; the others run on the processor alone."""

    TORCH = "torch"
    OPENVINO = "openvino"
    ONNX = "onnx"

    def label(self) -> str:
        """What the panel's list shows."""
        return {
            Engine.TORCH: _("PyTorch"),
            Engine.OPENVINO: _("OpenVINO (processor)"),
            Engine.ONNX: _("ONNX Runtime (processor)"),
        }[self]


class Device(enum.Enum):
    """The device that computes; the label of the first entry names the device it will choose."""

    AUTOMATIC = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"

    def label(self) -> str:
        """What the panel's list shows."""
        return {
            Device.AUTOMATIC: _("Automatic ({found})").format(found=found_device()),
            Device.CPU: _("Processor (CPU)"),
            Device.CUDA: _("NVIDIA GPU (CUDA)"),
            Device.MPS: _("Apple GPU (MPS)"),
        }[self]
