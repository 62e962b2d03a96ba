"""Rows: how time and memory grow with the scan, many classes, and a very large scan."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import torch

from MedLLMSegLib.core.geometry import Grid
from MedLLMSegLib.core.types import Triple
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.volume_files import load_volume

from . import product, rivals
from .phantoms import FreeNetwork, body, scan
from .row import OURS, QUICK, Prepare, Row, Run, Setting
from .rows_chain import HEART, HIPPOCAMPUS, template

FREE_EDGES, SHIPPED_EDGES = (64, 96, 128, 192, 256, 384, 512), (64, 128, 256, 512)
WINDOW: Triple = (96, 96, 96)
FREE_SPACING_MM = 1.5  # of the network's grid, for scans of 1 mm
WARM_EDGE = 160  # of a scan in several windows, segmented first: it loads what windows need
HEART_MM = (100.0, 384.0, 384.0)
MANY, MANY_MM = 33, 240.0  # classes, and the edge of the scan of 256 voxels
MANY_TOP = 14.0  # see `rows_windows.MOST_TOP`
CT_SHAPE, CT_MM = (600, 1024, 1024), (600.0, 400.0, 400.0)


def _cube(edge: int) -> Triple:
    return edge, edge, edge


def _free(shape: Triple, extent_mm: tuple[float, float, float], window: Triple = WINDOW) -> Prepare:
    """The whole-scan path with a network that costs nothing."""

    def prepare(setting: Setting) -> Run:
        network = FreeNetwork(3, smooth=False)
        model = product.whole_scan_model(network, 3, FREE_SPACING_MM, window, setting.device)
        product.run_model(model, scan(_cube(WARM_EDGE), (float(WARM_EDGE),) * 3))
        volume = scan(shape, extent_mm)
        return Run(lambda: product.run_model(model, volume))

    return prepare


def _heart(edge: int) -> Prepare:
    def prepare(setting: Setting) -> Run:
        model, volume = product.shipped_model(HEART, setting.device), scan(_cube(edge), HEART_MM)
        return Run(lambda: product.run_model(model, volume))

    return prepare


def _head(edge: int) -> Prepare:
    def prepare(setting: Setting) -> Run:
        model = product.shipped_model(HIPPOCAMPUS, setting.device)
        volume = _stretched(load_volume(template()), edge)
        return Run(lambda: product.run_model(model, volume))

    return prepare


def _stretched(volume: Volume, edge: int) -> Volume:
    """The same head in a cube of voxels."""
    scale = np.array(volume.array.shape[::-1]) / edge
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, :3] *= scale
    matrix[:3, 3] += volume.ijk_to_ras[:3, :3] @ ((scale - 1) / 2)
    values = product.resample(volume.array, volume.grid, Grid(_cube(edge), matrix))
    return Volume(np.round(values).astype(np.int16), matrix, f"head {edge}")


def _growth(name: str, title: str, contestants: dict[int, Prepare], aim: str = "") -> Row:
    return Row(
        f"growth-{name}",
        title,
        {f"{edge}^3": prepare for edge, prepare in contestants.items()},
        aim=aim,
        voxels={f"{edge}^3": edge**3 for edge in contestants},
        rounds=1,
        cuda=name == "free",
    )


# ---- many classes ----


def _many(setting: Setting) -> Run:
    edge = setting.pick(256, 64)
    model = product.whole_scan_model(
        FreeNetwork(MANY), MANY, 1.0, _many_window(setting), setting.device
    )
    volume = scan(_cube(edge), (edge * MANY_MM / 256,) * 3, MANY_TOP)
    return Run(lambda: product.run_model(model, volume))


def _many_alone(setting: Setting) -> Run:
    edge = round(setting.pick(256, 64) * MANY_MM / 256)
    image = torch.from_numpy(body(_cube(edge), MANY_TOP))[None, None]
    boxes = rivals.window_boxes(_cube(edge), _many_window(setting), 0.5)
    return Run(partial(rivals.network_alone, FreeNetwork(MANY), image, boxes))


def _many_window(setting: Setting) -> Triple:
    return setting.pick(WINDOW, (32, 32, 32))


ROWS = (
    # For the tests: 8 windows and 27
    replace(
        _growth(
            "quick",
            "whole-scan path, free network, 3 classes",
            {edge: _free(_cube(edge), (float(edge),) * 3, (48, 48, 48)) for edge in (96, 144)},
        ),
        rounds=3,
        scales=(QUICK,),
    ),
    _growth(
        "free",
        "whole-scan path, free network, 3 classes, scans of 1 mm on a grid of 1.5 mm",
        {edge: _free(_cube(edge), (float(edge),) * 3) for edge in FREE_EDGES},
        aim="exponent at most 1.0; 512^3: 20 s, 3 GB in all",
    ),
    _growth(
        "hippocampus",
        "hippocampus-t1, one head in cubes of voxels",
        {edge: _head(edge) for edge in SHIPPED_EDGES},
    ),
    _growth(
        "heart",
        "cardiac-cine-mr, one heart in cubes of voxels",
        {edge: _heart(edge) for edge in SHIPPED_EDGES},
    ),
    Row(
        "classes-33",
        "256^3 of 0.94 mm, nearly free network at 1 mm with 33 classes: whole chain",
        {OURS: _many, "network alone": _many_alone},
        aim="700 MiB beside the network; way back 6 s",
        beside="network alone",
        rounds=1,
    ),
    Row(
        "ct-1024",
        "CT of 1024 x 1024 x 600, free network, whole chain",
        {OURS: _free(CT_SHAPE, CT_MM)},
        aim="8 GB in all",
        rounds=1,
        large=True,
    ),
)
