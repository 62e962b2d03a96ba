"""`explain` on whole scans: the map lies where the evidence is, on the scan's own grid."""

from dataclasses import replace

import numpy as np
import pytest

from MedLLMSegLib import Cancelled, UserError, Volume, load_model, load_volume, save_volume, segment
from MedLLMSegLib.cli import main as cli
from MedLLMSegLib.core.geometry import transform_points
from MedLLMSegLib.segmentation.explanation.explain import explain
from MedLLMSegLib.segmentation.region import Region
from Testing.helpers.bright_organ import bright_organ_model
from Testing.helpers.tiny_segmenter import oblique, tiny_bundle


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(tiny_bundle(tmp_path_factory.mktemp("models") / "tiny"), "cpu", "fp32")


@pytest.fixture(scope="module")
def scan():
    rng = np.random.default_rng(0)
    array = rng.normal(size=(12, 60, 50)).astype(np.float32)
    array[4:8, 20:40, 10:30] += 4
    return Volume(array, oblique(array.shape, (1.5, 1.5, 5.0)), "heart")


def points_ras(volume, mask):
    return transform_points(volume.grid.ijk_to_ras, np.argwhere(mask)[:, ::-1])


def test_the_map_lies_on_the_scan_and_runs_from_0_to_1(model, scan):
    result = explain(scan, "one", model)
    assert result.evidence.array.shape == scan.array.shape
    np.testing.assert_array_equal(result.evidence.ijk_to_ras, scan.ijk_to_ras)
    assert result.evidence.array.min() == 0
    assert 0.5 < result.evidence.array.max() <= 1
    assert result.windows > 1
    assert result.seconds > 0
    far = replace(result, where=replace(result.where, inside=0.0, near=0.1, far=0.9))
    assert "no reason to trust the outline" in far.sentences()[0]


def test_the_region_is_the_structure_as_it_is_outlined(model, scan):
    found = segment(scan, model)
    label = next(s.label for s in found.structures if s.name == "One")
    region = explain(scan, "one", model).region.array > 0
    outlined = found.labels.array == label
    assert 2 * (region & outlined).sum() / (region.sum() + outlined.sum()) > 0.9


def test_a_box_and_a_point_narrow_the_region(model, scan):
    whole = explain(scan, "one", model)
    points = points_ras(scan, whole.region.array > 0)
    low, high = points.min(0), points.max(0)
    high[0] = points[:, 0].mean()
    part = explain(scan, "one", model, box=Region.from_faces((*low - 1, *high + 1)))
    assert 0 < part.region.array.sum() < whole.region.array.sum()
    assert part.evidence.array.any()
    point = tuple(points[len(points) // 2])
    near = points_ras(scan, explain(scan, "one", model, point_ras=point).region.array > 0)
    assert len(near)
    assert np.linalg.norm(near - point, axis=1).max() < 8


def test_what_cannot_be_explained_is_one_sentence(model, scan):
    for options, words in (
        ({"structure": "spleen"}, "no structure or group"),
        ({"point_ras": (900.0, 0, 0)}, "outside of what the model looked at"),
        ({"box": Region.from_faces((500, 500, 500, 510, 510, 510))}, "holds nothing of One"),
        (
            {"point_ras": (0, 0, 0), "box": Region.from_faces((0, 0, 0, 1, 1, 1))},
            "choose one of them",
        ),
        ({"point_ras": (float("nan"), 0, 0)}, "three numbers"),
    ):
        with pytest.raises(UserError, match=words):
            explain(scan, **{"structure": "one", "model": model, **options})


def test_a_structure_that_was_not_found_is_said_to_be_missing(model, scan):
    class Never(type(model.network)):
        pass

    with pytest.raises(UserError, match="was not found in"):
        explain(replace(scan, array=scan.array), "four", _never(model, 2))


def _never(model, number):
    """The model, whose class of this number never wins."""
    import copy

    network = copy.deepcopy(model.network)
    network.decoder.head.bias.data[number] = -1e4
    return replace(model, network=network)


def test_a_crop_takes_the_side_that_is_named(monkeypatch):
    from MedLLMSegLib.segmentation.explanation.asked import asked_structures

    model = bright_organ_model()
    crop = Volume(np.zeros((40, 50, 40), np.float32), np.eye(4), "crop")
    left = asked_structures("left hippocampus", crop, model)
    assert (left.side, [s.label for s in left.structures]) == ("left", [1, 2])
    assert left.title == "Left hippocampus"
    both = asked_structures("hippocampus", crop, model)
    assert (both.side, [s.label for s in both.structures]) == (None, [1, 2])
    head = replace(crop, array=np.zeros((200, 200, 200), np.uint8))
    with_localizer = replace(model, localizer=object())
    assert asked_structures("right anterior", head, with_localizer).title == (
        "Right hippocampus (anterior)"
    )
    with pytest.raises(UserError, match="more than one side"):
        asked_structures("hippocampus", head, with_localizer)


def test_a_cancel_is_heard_while_it_explains(model, scan):
    def stop(stage, fraction):
        if stage == "explain":
            raise Cancelled

    with pytest.raises(Cancelled):
        explain(scan, "one", model, progress=stop)


def test_the_command_writes_the_map_and_its_page(model, scan, tmp_path, capsys):
    path, output = tmp_path / "heart.nii.gz", tmp_path / "map.nii.gz"
    save_volume(scan, path)
    command = ["explain", str(path), "--model", str(model.entry.folder), "--structure", "one"]
    assert cli.main([*command, "--output", str(output), "--device", "cpu", "--report"]) == 0
    printed = capsys.readouterr().out
    assert "of the evidence lies inside the structure" in printed
    written = load_volume(output)
    assert written.array.shape == scan.array.shape
    assert 0.5 < written.array.max() <= 1
    page = (tmp_path / "map_report" / "report.html").read_text(encoding="utf-8")
    assert "Evidence for One" in page
    assert (tmp_path / "map_report" / "evidence.png").stat().st_size > 10_000
    assert cli.main([*command, "--output", str(path)]) == 2
    assert "the scan itself" in capsys.readouterr().err
    assert cli.main([*command, "--output", str(tmp_path / "map.png")]) == 2
    assert "in which format" in capsys.readouterr().err
