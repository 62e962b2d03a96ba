"""Folders in the Decathlon's layout: which of their cases are measured."""

import json

import numpy as np
import pytest

from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.data import choose_cases
from MedLLMSegLib.io.volume_files import save_volume

CASES = ["hippocampus_001", "hippocampus_002", "hippocampus_003", "hippocampus_004"]


@pytest.fixture
def data(tmp_path):
    empty = Volume(np.zeros((2, 2, 2), np.uint8), np.eye(4))
    for case in CASES:
        for folder in ("imagesTr", "labelsTr"):
            save_volume(empty, tmp_path / "data" / folder / f"{case}.nii.gz")
    return tmp_path / "data"


def test_all_labelled_cases_unless_a_split_or_a_list_says_otherwise(data, tmp_path):
    assert choose_cases(data) == CASES
    (data / "labelsTr" / "._hippocampus_009.nii.gz").write_bytes(b"x")  # macOS leaves such files
    assert choose_cases(data) == CASES
    (data / "splits.json").write_text(json.dumps({"train": CASES[:2], "test": CASES[3:]}))
    assert choose_cases(data) == CASES[3:]


def test_a_list_keeps_its_order_and_overrides_the_split(data, tmp_path):
    (data / "splits.json").write_text(json.dumps({"test": CASES[3:]}))
    listed = tmp_path / "cases.txt"
    listed.write_text(
        "\ufeffhippocampus_002\n\n hippocampus_001 \r\nhippocampus_002\n", encoding="utf-8"
    )
    assert choose_cases(data, listed) == ["hippocampus_002", "hippocampus_001"]
