"""Which model divides another one's structures: hippocampus-t1 those of a brain alone."""

import json
from dataclasses import replace

from MedLLMSegLib.registry.catalogue import BUNDLES, METADATA, list_models, model_entry
from MedLLMSegLib.registry.model_parts import HIPPOCAMPI, parts_model_for
from MedLLMSegLib.segmentation.hippocampus_parts import WHOLE


def test_of_the_models_that_ship_brain_mr_alone_is_divided():
    entries = list_models(folder=BUNDLES)
    found = {entry.id: parts_model_for(entry, entries) for entry in entries}
    assert found.pop("brain-mr").id == "hippocampus-t1"
    assert set(found.values()) == {None}


def test_without_a_model_of_the_hippocampus_there_are_no_parts():
    brain = model_entry(BUNDLES / "brain-mr")
    assert parts_model_for(brain, [brain]) is None


def test_other_numbers_and_damaged_metadata_fit_nothing(tmp_path):
    brain, parts = model_entry(BUNDLES / "brain-mr"), model_entry(BUNDLES / "hippocampus-t1")
    metadata = json.loads((brain.folder / METADATA).read_text(encoding="utf-8"))
    other = replace(brain, folder=tmp_path)
    (tmp_path / "configs").mkdir()
    for labels in (
        [{**label, "label": label["label"] + 100} for label in metadata["labels"]],
        {"17": "left hippocampus", "53": "right hippocampus"},
        [None, "Left hippocampus"],
    ):
        (tmp_path / METADATA).write_text(json.dumps({**metadata, "labels": labels}))
        assert parts_model_for(other, [parts]) is None
    (tmp_path / METADATA).write_text("{")
    assert parts_model_for(other, [parts]) is None


def test_the_numbers_are_those_that_are_divided():
    assert tuple(WHOLE.values()) == HIPPOCAMPI
