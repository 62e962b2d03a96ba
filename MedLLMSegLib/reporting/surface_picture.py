"""A 3D view of a segmentation: surfaces in RAS millimetres, shaded, projected without
perspective.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter
from skimage.measure import marching_cubes

from MedLLMSegLib.core.geometry import covering_grid, resample, transform_points

from .slice_pictures import BACKGROUND, INK, Mask, draw_scale

_FINEST_MM, _MOST_VOXELS = 0.45, 100
_SMOOTH_VOX = 0.75  # of the scan's own voxels along each axis: enough to hide their steps
# Directions from the organ to the viewer, in RAS.
CAMERAS = {"from the front": (0.0, 1.0, 0.0), "from the front, left and above": (-0.62, 0.6, 0.5)}


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles of one colour. points: (n, 3) RAS mm; normals: (n, 3) outward; faces: (m, 3);
    color: RGB 0 to 1.
    """

    points: np.ndarray
    normals: np.ndarray
    faces: np.ndarray
    color: np.ndarray


def mesh_of(mask: Mask) -> Mesh | None:
    """The surface of a structure, a little smoothed; None for one too small to have a surface."""
    spacing = max(_FINEST_MM, max(mask.grid.extent_mm) / _MOST_VOXELS)
    grid = covering_grid(mask.grid, spacing)
    cover = gaussian_filter(
        resample(gaussian_filter(mask.array, _SMOOTH_VOX), mask.grid, grid, outside=0.0), 1.0
    )
    level = min(
        0.5, float(cover.max()) / 2
    )  # a structure of a voxel or two is smoothed below one half everywhere
    if level <= 0:
        return None
    corners, faces, _, _ = marching_cubes(cover, level)
    points = transform_points(grid.ijk_to_ras, corners[:, ::-1])
    sides = np.cross(
        points[faces[:, 1]] - points[faces[:, 0]], points[faces[:, 2]] - points[faces[:, 0]]
    )
    if np.einsum("ij,ij->", points[faces[:, 0]], sides) < 0:  # six times the signed volume
        faces, sides = faces[:, ::-1], -sides
    normals = np.zeros_like(points)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], sides)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    return Mesh(points, normals, faces, np.array(mask.structure.color) / 255)


def camera(towards: Sequence[float]) -> np.ndarray:
    """(3, 3) rows: the RAS directions of the viewer's right, up, and towards the viewer."""
    towards = np.asarray(towards, float) / np.linalg.norm(towards)
    right = np.cross([0.0, 0.0, 1.0], towards)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(towards, right), towards])


def surface_picture(masks: Sequence[Mask]) -> Figure | None:
    """The structures seen from two sides; None where there is nothing to see."""
    meshes = [m for m in map(mesh_of, masks) if m is not None]
    if not meshes:
        return None
    figure = Figure(figsize=(5.0 * len(CAMERAS), 5.0), dpi=110, facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    points = np.concatenate([m.points for m in meshes])
    for n, (title, towards) in enumerate(CAMERAS.items()):
        axes = camera(towards)
        seen = (points @ axes.T)[:, :2]
        middle, side = (
            (seen.min(0) + seen.max(0)) / 2,
            1.35 * float((seen.max(0) - seen.min(0)).max()),
        )
        panel = figure.add_axes((n / len(CAMERAS), 0, 1 / len(CAMERAS), 1))
        panel.set_axis_off()
        panel.set_aspect("equal")
        panel.set_xlim(middle[0] - side / 2, middle[0] + side / 2)
        panel.set_ylim(middle[1] - side / 2, middle[1] + side / 2)
        panel.add_collection(_triangles(meshes, axes))
        _compass(panel, axes, middle, side)
        draw_scale(panel, side)
        panel.text(
            0.5, 0.955, title, transform=panel.transAxes, color=INK, fontsize=10, ha="center"
        )
    return figure


def _triangles(meshes: Sequence[Mesh], axes: np.ndarray) -> PolyCollection:
    """All triangles that face the viewer in one collection, the farthest drawn first."""
    corners, colors, depths = [], [], []
    light = axes.T @ np.array([-0.35, 0.55, 0.76])  # over the viewer's left shoulder
    half = light + axes[2]
    half /= np.linalg.norm(half)
    for mesh in meshes:
        seen = (mesh.points @ axes.T)[
            mesh.faces
        ]  # (m, 3 corners, 3): right, up, towards the viewer
        sides = np.cross(seen[:, 1] - seen[:, 0], seen[:, 2] - seen[:, 0])
        front = sides[:, 2] > 0.05 * np.linalg.norm(
            sides, axis=1
        )  # one seen edge-on would be a stray dark line
        normal = mesh.normals[mesh.faces[front]].mean(1)
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
        diffuse = np.clip(normal @ light, 0, 1)[:, None]
        shine = np.clip(normal @ half, 0, 1)[:, None] ** 30
        corners.append(seen[front][:, :, :2])
        depths.append(seen[front][:, :, 2].mean(1))
        colors.append(np.clip(mesh.color * (0.28 + 0.72 * diffuse) + 0.22 * shine, 0, 1))
    order = np.argsort(np.concatenate(depths))
    color = np.concatenate(colors)[order]
    # Snapped to whole pixels, triangles along the pixel rows would part and let the background
    # through.
    return PolyCollection(
        np.concatenate(corners)[order],
        facecolors=color,
        edgecolors=color,
        linewidths=0.35,
        snap=False,
    )


def _compass(panel, axes: np.ndarray, middle: np.ndarray, side: float) -> None:
    """Three short lines with the letters of left, anterior and superior, in the lower left
    corner.
    """
    origin = middle - side * np.array([0.41, 0.41])
    for letter, direction in {"L": (-1, 0, 0), "A": (0, 1, 0), "S": (0, 0, 1)}.items():
        step = (axes @ np.array(direction, float))[:2] * side * 0.08
        if np.linalg.norm(step) < side * 0.015:
            continue  # it points at the viewer
        panel.plot(*zip(origin, origin + step), color=INK, linewidth=1.4)
        panel.text(
            *(origin + step * 1.38),
            letter,
            color=INK,
            fontsize=11,
            fontweight="bold",
            ha="center",
            va="center",
        )
