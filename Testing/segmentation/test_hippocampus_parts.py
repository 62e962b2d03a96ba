"""`--with hippocampus-t1`: the hippocampi of a brain are divided, and nothing else moves."""

import types
from dataclasses import replace

import numpy as np
import pytest

from MedLLMSegLib import UserError, segment
from MedLLMSegLib.anatomy.brain import brain_structures
from MedLLMSegLib.anatomy.structures import (
    HIPPOCAMPUS,
    PARTS_IN_BRAIN,
    hippocampus_parts_in_brain,
    named_structures,
)
from MedLLMSegLib.cli.main import main
from MedLLMSegLib.core.geometry import transform_points
from Testing.helpers.bright_organ import SETTINGS, bright_organ_model
from Testing.helpers.two_hippocampi import HIPPOCAMPI, two_hippocampi_model

WHOLE = {"left": 17, "right": 53}


class Unused:
    """A localizer that nobody asks where: the brain's model says that."""

    def settled_precision(self, device, requested):
        return types.SimpleNamespace(name="fp32")


def parts_model(**settings):
    return replace(bright_organ_model(localizer=Unused()), settings={**SETTINGS, **settings})


@pytest.fixture
def scan(head):
    return head[0]


def ahead_mm(labels, value):
    """How far in front (RAS) the middle of a label lies."""
    places = np.argwhere(labels.array == value)[:, ::-1]
    return transform_points(labels.ijk_to_ras, places).mean(0)[1]


@pytest.mark.parametrize("resolution_mm", [None, 2.0])
def test_every_voxel_of_a_hippocampus_is_in_one_of_its_parts(scan, resolution_mm):
    whole = segment(scan, two_hippocampi_model(), resolution_mm=resolution_mm).labels.array
    result = segment(
        scan, two_hippocampi_model(), with_model=parts_model(), resolution_mm=resolution_mm
    )
    for side, values in PARTS_IN_BRAIN.items():
        there = np.isin(result.labels.array, values)
        assert np.array_equal(there, whole == WHOLE[side])
        shares = [(result.labels.array == value).sum() / there.sum() for value in values]
        assert min(shares) > 0.3
        anterior, posterior = values
        assert ahead_mm(result.labels, anterior) > ahead_mm(result.labels, posterior) + 5
    assert set(np.unique(result.labels.array)) == {0, 184, 185, 186, 187}


def test_names_colours_codes_and_confidence(scan):
    result = segment(scan, two_hippocampi_model(), with_model=parts_model())
    assert [(s.label, s.key) for s in result.structures] == [
        (16, "brain_stem"),
        (184, "left_hippocampus_anterior"),
        (185, "left_hippocampus_posterior"),
        (186, "right_hippocampus_anterior"),
        (187, "right_hippocampus_posterior"),
    ]
    assert result.structures[1].name == "Left hippocampus (anterior)"
    assert len({s.color for s in result.structures}) == 5
    assert all(s.type == HIPPOCAMPUS and s.group == "deep grey" for s in result.structures[1:])
    assert [s.side for s in result.structures[1:]] == ["left", "left", "right", "right"]
    assert set(result.confidence) == {16, 184, 185, 186, 187}
    assert result.confidence[184] > 0.9
    assert any("are by stand-in" in note for note in result.notes)


def test_the_expected_dice_is_of_what_the_brains_model_outlines_alone(head):
    volume, masks = head
    both = replace(two_hippocampi_model(), dice_lines={17: (0.1, 0.8), 53: (0.1, 0.8)})
    whole = segment(volume, both)
    assert set(whole.expected_dice) == {17, 53}
    assert segment(volume, both, with_model=parts_model()).expected_dice == {}
    left = volume.with_array(masks["left"] * 900.0 + 100)  # the right one is not there to divide
    assert segment(left, both, with_model=parts_model()).expected_dice == {}
    blind = parts_model(plausible_ml=[50.0, 60.0])  # both stay whole, and what is expected of them
    assert segment(volume, both, with_model=blind).expected_dice == whole.expected_dice


def test_the_parts_numbers_are_none_of_the_brains():
    values = {value for labels in PARTS_IN_BRAIN.values() for value in labels}
    assert len(values) == 4
    assert not values & {s.label for s in brain_structures()}
    keys = {s.key for side in WHOLE for s in hippocampus_parts_in_brain(side, "")}
    assert not keys & {s.key for s in brain_structures()}


def test_a_hippocampus_that_is_not_there_stays_whole_and_is_named(head):
    volume, masks = head
    scan = volume.with_array(masks["left"] * 900.0 + 100)
    result = segment(scan, two_hippocampi_model(), with_model=parts_model())
    assert set(np.unique(result.labels.array)) == {0, 184, 185}
    assert [s.label for s in result.structures] == [16, 184, 185, 53]
    assert "The right hippocampus was not divided into parts: it was not found." in result.notes


def test_what_the_second_model_does_not_see_stays_whole(scan):
    blind = parts_model(plausible_ml=[50.0, 60.0])
    result = segment(scan, two_hippocampi_model(), with_model=blind)
    assert set(np.unique(result.labels.array)) == {0, 17, 53}
    assert sum("stand-in saw none where it was outlined" in note for note in result.notes) == 2
    assert not any("are by" in note for note in result.notes)


def test_an_outline_elsewhere_is_not_believed(scan, monkeypatch):
    monkeypatch.setattr("MedLLMSegLib.segmentation.hippocampus_parts.LEAST_OVERLAP", 1.01)
    result = segment(scan, two_hippocampi_model(), with_model=parts_model())
    assert set(np.unique(result.labels.array)) == {0, 17, 53}
    assert sum("they overlap with Dice" in note for note in result.notes) == 2


def test_only_what_was_asked_for_is_divided(scan):
    result = segment(
        scan, two_hippocampi_model(), structures="hippocampus", with_model=parts_model()
    )
    assert [s.label for s in result.structures] == [184, 185, 186, 187]


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"structures": "left_hippocampus"}, "not both are asked of"),
        ({"structures": "brain_stem"}, "not both are asked of"),
        ({"probabilities": True}, "have no probability maps"),
        ({"with_model": two_hippocampi_model()}, "knows no parts of the hippocampus"),
        (
            {"model": two_hippocampi_model(named_structures({1: "a", 17: "Liver", 53: "Spleen"}))},
            "not both are asked of",
        ),
        (
            {"model": two_hippocampi_model((*HIPPOCAMPI, *named_structures({184: "odd"})))},
            "has a structure with the label 184",
        ),
    ],
)
def test_where_it_does_not_fit_one_sentence_says_so_before_the_work(scan, arguments, words):
    stages = []
    arguments = {"model": two_hippocampi_model(), "with_model": parts_model(), **arguments}
    with pytest.raises(UserError, match=words):
        segment(scan, progress=lambda stage, _: stages.append(stage), **arguments)
    assert stages == ["load"]


def test_the_command_line_names_the_misfit(tmp_path, capsys):
    (tmp_path / "scan.nii.gz").write_bytes(b"")
    models = ["--model", "hippocampus-t1", "--with", "hippocampus-t1"]
    command = f"segment {tmp_path / 'scan.nii.gz'} --output {tmp_path}/o --device cpu"
    assert main([*command.split(), *models]) == 2
    assert "use a model of the whole brain" in capsys.readouterr().err


def test_the_command_line_writes_the_parts_and_a_plain_run_is_another(
    scan, tmp_path, monkeypatch, capsys
):
    from MedLLMSegLib import load_volume, save_volume

    models = {"brain": two_hippocampi_model(), "parts": parts_model()}
    for place in ("loaded_segmenter", "hippocampus_parts", "pipeline"):
        monkeypatch.setattr(
            f"MedLLMSegLib.segmentation.{place}.load_model", lambda name, *more: models[name]
        )
    path = save_volume(scan, tmp_path / "scan.nii.gz")
    plain = ["segment", str(path), "--model", "brain", "--output", str(tmp_path / "out")]
    for more, values in (
        (["--with", "parts"], {0, 184, 185, 186, 187}),
        ([], {0, 17, 53}),
        (["--with", "parts"], {0, 184, 185, 186, 187}),
    ):
        assert main([*plain, *more]) == 0
        written = load_volume(tmp_path / "out/scan.nii.gz").array
        assert set(np.unique(written)) == values
        assert "0 skipped" in capsys.readouterr().out
    assert main([*plain, "--with", "parts"]) == 0
    assert "1 skipped" in capsys.readouterr().out
