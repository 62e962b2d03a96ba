"""Folders and tables of cases that several tests read."""

import numpy as np
import pytest

from MedLLMSegLib import save_volume
from MedLLMSegLib.core.volume import Volume
from Testing.helpers.labelled_files import GRID, SHAPE, add_case, labels_of


@pytest.fixture
def decathlon(tmp_path):
    """Six cases in the Decathlon's layout."""
    for n in range(1, 7):
        add_case(tmp_path / "data", f"hippocampus_{n:03}")
    return tmp_path / "data"


@pytest.fixture
def table(tmp_path):
    """table(text, encoding) -> path of a CSV beside scans a to d and their label maps."""
    for n, name in enumerate("abcd"):
        save_volume(Volume(np.zeros(SHAPE, np.float32), GRID), tmp_path / f"scans/{name}.nrrd")
        save_volume(Volume(labels_of(n), GRID), tmp_path / f"scans/{name}_labels.nrrd")

    def write(text, encoding="utf-8"):
        path = tmp_path / "cases.csv"
        path.write_text(text, encoding=encoding)
        return path

    return write
