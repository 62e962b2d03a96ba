"""Small grids at random, for property tests."""

import numpy as np
from hypothesis import strategies as st

from MedLLMSegLib.core.geometry import Grid
from Testing.helpers.grids import rotation


@st.composite
def grids(draw, degrees=0, spacing_mm=(0.3, 3.0)):
    """A small grid near the origin, in any of the 48 orientations, turned by up to ``degrees``."""
    axes = np.eye(3)[list(draw(st.permutations(range(3))))]
    axes = axes * draw(st.lists(st.sampled_from((-1, 1)), min_size=3, max_size=3))
    turns = draw(st.lists(st.floats(-degrees, degrees), min_size=3, max_size=3))
    spacing = draw(st.lists(st.floats(*spacing_mm), min_size=3, max_size=3))
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(turns) @ axes * spacing
    matrix[:3, 3] = draw(st.lists(st.floats(-9, 9), min_size=3, max_size=3))
    return Grid(tuple(draw(st.lists(st.integers(1, 9), min_size=3, max_size=3))), matrix)
