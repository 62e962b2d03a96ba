"""A GPU that is too full at any moment: the scan is segmented all the same, and the notes say
how.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from MedLLMSegLib import load_model, segment
from MedLLMSegLib.segmentation import loaded_segmenter as loading
from MedLLMSegLib.segmentation import outlines
from MedLLMSegLib.segmentation.cascade import outline_sides
from Testing.helpers.bright_organ import bright_organ_model, bright_organ_scan
from Testing.helpers.grids import GRIDS

META = torch.device("meta")  # stands for a GPU: nothing can be computed on it
GRID = GRIDS["oblique"]
ON_CPU = "The GPU's memory was too small; the CPU was used."


def full(*_, **__):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


class Full(torch.nn.Module):
    """A network that fits no GPU."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, image):
        return full() if image.device.type == "meta" else self.network(image)


def test_a_network_that_does_not_fit_runs_on_the_cpu_and_the_notes_say_so():
    there = bright_organ_model()
    result = segment(
        bright_organ_scan(GRID),
        replace(there, network=Full(there.network), device=META),
        side="left",
    )
    plain = segment(bright_organ_scan(GRID), there, side="left")
    assert np.array_equal(result.labels.array, plain.labels.array)
    assert result.notes == (*plain.notes, ON_CPU)


def test_whatever_else_does_not_fit_makes_the_whole_run_go_to_the_cpu(monkeypatch):
    tried = []

    def sides(volume, which, *more):
        tried.append(which.device.type)
        return full() if which.device.type == "meta" else outline_sides(volume, which, *more)

    monkeypatch.setattr(outlines, "outline_sides", sides)
    stages = []
    result = segment(
        bright_organ_scan(GRID),
        replace(bright_organ_model(), device=META),
        side="left",
        progress=lambda stage, f: stages.append(stage),
    )
    assert tried == ["meta", "cpu"]
    assert result.notes[-1] == ON_CPU
    assert "segment on the CPU" in stages


def test_on_the_cpu_there_is_nowhere_else_to_go(monkeypatch):
    monkeypatch.setattr(outlines, "outline_sides", full)
    with pytest.raises(torch.OutOfMemoryError):
        segment(bright_organ_scan(GRID), bright_organ_model())


def test_a_model_that_cannot_be_loaded_onto_the_gpu_is_loaded_on_the_cpu(monkeypatch):
    build = loading._build_model
    monkeypatch.setattr(loading, "choose_device", lambda name: META)
    monkeypatch.setattr(
        loading,
        "_build_model",
        lambda entry, bundle, device: full() if device == META else build(entry, bundle, device),
    )
    there = load_model("hippocampus-t1", "cuda")
    assert there.device.type == "cpu"
    assert there.notes == (ON_CPU,)
