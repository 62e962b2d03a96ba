"""A 3D view of a segmentation: shaded surfaces in RAS millimetres, without perspective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter
from skimage.measure import marching_cubes

from MedLLMSegLib.core.geometry import covering_grid, transform_points
from MedLLMSegLib.core.resampling import resample
from MedLLMSegLib.core.types import Array

from .slice_drawing import BACKGROUND, INK, draw_scale
from .structure_masks import Mask

_FINEST_MM, _MOST_VOXELS = 0.45, 100
_SMOOTH_VOX = 0.75  # in the scan's own voxels along each axis: enough to hide their steps
# Directions from the organ to the viewer, in RAS.
CAMERAS = {"from the front": (0.0, 1.0, 0.0), "from the front, left and above": (-0.62, 0.6, 0.5)}


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles of one colour.

    points: (n, 3) RAS mm. normals: (n, 3) outward. faces: (m, 3). color: RGB, 0 to 1.
    """

    points: Array
    normals: Array
    faces: Array
    color: Array


def mesh_of(mask: Mask) -> Mesh | None:
    """The surface of a structure, slightly smoothed; None where it is too small to have one."""
    spacing_mm = max(_FINEST_MM, max(mask.grid.extent_mm) / _MOST_VOXELS)
    grid = covering_grid(mask.grid, spacing_mm)
    smoothed = gaussian_filter(mask.array, _SMOOTH_VOX)
    cover = gaussian_filter(resample(smoothed, mask.grid, grid, outside=0.0), 1.0)
    # Smoothing brings a structure of a voxel or two below one half everywhere.
    level = min(0.5, float(cover.max()) / 2)
    if level <= 0:
        return None
    corners, faces, _, _ = marching_cubes(cover, level)
    points = transform_points(grid.ijk_to_ras, corners[:, ::-1])
    a, b, c = (points[faces[:, corner]] for corner in range(3))
    face_normals = np.cross(b - a, c - a)  # (m, 3), as long as twice the face's area
    if np.einsum("ij,ij->", a, face_normals) < 0:  # six times the signed volume
        faces, face_normals = faces[:, ::-1], -face_normals
    normals = np.zeros_like(points)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], face_normals)
    return Mesh(points, _unit(normals), faces, np.array(mask.structure.color) / 255)


def _unit(vectors: Array) -> Array:
    """Vectors (n, 3) of length 1."""
    unit: Array = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit


def camera(towards: Sequence[float]) -> Array:
    """(3, 3) rows: the RAS directions of the viewer's right, up, and towards the viewer."""
    forward = np.asarray(towards, float) / np.linalg.norm(towards)
    right = np.cross([0.0, 0.0, 1.0], forward)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward])


def surface_picture(masks: Sequence[Mask]) -> Figure | None:
    """The structures seen from two sides; None where none has a surface."""
    meshes = [mesh for mesh in map(mesh_of, masks) if mesh is not None]
    if not meshes:
        return None
    figure = Figure(figsize=(5.0 * len(CAMERAS), 5.0), dpi=110, facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    for n, (title, towards) in enumerate(CAMERAS.items()):
        panel = figure.add_axes((n / len(CAMERAS), 0, 1 / len(CAMERAS), 1))
        _draw_view(panel, meshes, camera(towards))
        panel.text(
            0.5, 0.955, title, transform=panel.transAxes, color=INK, fontsize=10, ha="center"
        )
    return figure


def _draw_view(panel: Axes, meshes: Sequence[Mesh], axes: Array) -> None:
    """All meshes seen by a camera (see `camera`), with a compass and a scale."""
    points = np.concatenate([mesh.points for mesh in meshes])
    projected = (points @ axes.T)[:, :2]  # (n, 2) right and up
    low, high = projected.min(0), projected.max(0)
    middle, side_mm = (low + high) / 2, 1.35 * float((high - low).max())
    panel.set_axis_off()
    panel.set_aspect("equal")
    panel.set_xlim(middle[0] - side_mm / 2, middle[0] + side_mm / 2)
    panel.set_ylim(middle[1] - side_mm / 2, middle[1] + side_mm / 2)
    panel.add_collection(_triangles(meshes, axes))
    _draw_compass(panel, axes, middle, side_mm)
    draw_scale(panel, side_mm)


def _triangles(meshes: Sequence[Mesh], axes: Array) -> PolyCollection:
    """All triangles that face the viewer in one collection, the farthest drawn first."""
    light = axes.T @ np.array([-0.35, 0.55, 0.76])  # over the viewer's left shoulder
    halfway = light + axes[2]  # between the light and the viewer
    halfway /= np.linalg.norm(halfway)
    corners, colors, depths = [], [], []
    for mesh in meshes:
        seen = (mesh.points @ axes.T)[mesh.faces]  # (m, 3 corners, 3): right, up, towards
        sides = np.cross(seen[:, 1] - seen[:, 0], seen[:, 2] - seen[:, 0])
        # A triangle seen edge-on would be a stray dark line.
        front = sides[:, 2] > 0.05 * np.linalg.norm(sides, axis=1)
        normals = _unit(mesh.normals[mesh.faces[front]].mean(1))
        diffuse = np.clip(normals @ light, 0, 1)[:, None]
        shine = np.clip(normals @ halfway, 0, 1)[:, None] ** 30
        corners.append(seen[front][:, :, :2])
        depths.append(seen[front][:, :, 2].mean(1))
        colors.append(np.clip(mesh.color * (0.28 + 0.72 * diffuse) + 0.22 * shine, 0, 1))
    order = np.argsort(np.concatenate(depths))
    color = np.concatenate(colors)[order]
    # Snapped to whole pixels, triangles along the pixel rows would part and let the background
    # through.
    return PolyCollection(
        list(np.concatenate(corners)[order]),
        facecolors=color,
        edgecolors=color,
        linewidths=0.35,
        snap=False,
    )


def _draw_compass(panel: Axes, axes: Array, middle: Array, side_mm: float) -> None:
    """Short lines to left, anterior and superior with their letters, in the lower left corner."""
    start = middle - side_mm * np.array([0.41, 0.41])
    for letter, direction in {"L": (-1, 0, 0), "A": (0, 1, 0), "S": (0, 0, 1)}.items():
        step = (axes @ np.array(direction, float))[:2] * side_mm * 0.08
        if np.linalg.norm(step) < side_mm * 0.015:
            continue  # it points at the viewer
        (x, y), (end_x, end_y), (text_x, text_y) = start, start + step, start + step * 1.38
        panel.plot([x, end_x], [y, end_y], color=INK, linewidth=1.4)
        panel.text(
            text_x,
            text_y,
            letter,
            color=INK,
            fontsize=11,
            fontweight="bold",
            ha="center",
            va="center",
        )
