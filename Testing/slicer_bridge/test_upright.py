"""What the library takes for upright is what Slicer's slice views show."""

import numpy as np
import pytest

from MedLLMSegLib.core.display_orientation import VIEWS, DisplayOrientation, upright_orientation

pytest.importorskip(
    "slicer_core", reason="slicer-core is not installed: Slicer's views are NOT TESTED"
)
import slicer
import vtk


@pytest.mark.parametrize("axis, name", ((0, "Sagittal"), (1, "Coronal"), (2, "Axial")))
def test_right_and_below_are_those_of_slicers_views(axis, name):
    matrix = vtk.vtkMatrix3x3()
    getattr(slicer.vtkMRMLSliceNode, f"Get{name}SliceToRASMatrix")(matrix)
    right, up = ([matrix.GetElement(row, column) for row in range(3)] for column in (0, 1))
    assert np.array_equal(VIEWS[axis][0], right)
    assert np.array_equal(VIEWS[axis][1], np.negative(up))


def test_a_flat_image_as_slicer_loads_it_is_upright():
    """Pictures, and DICOM images without a position, get these axes."""
    assert upright_orientation(np.diag([-0.14, -0.14, 1.0, 1.0]), 0) == DisplayOrientation()
