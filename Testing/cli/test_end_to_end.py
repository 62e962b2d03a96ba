"""The shipped models on real images: the template that comes with nilearn, and the shared data
where it is present.
"""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MedLLMSegLib import UserError, Volume, load_model, load_volume, segment
from MedLLMSegLib.cli import main as cli
from MedLLMSegLib.core.geometry import transform_points
from Testing.helpers.brain_template import template_path

SHARED = Path(__file__).parents[3] / "shared/data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"NOT TESTED: {SHARED} is absent")


@pytest.fixture(scope="module")
def model():
    return load_model("hippocampus-t1", "cpu")


@pytest.fixture(scope="module")
def template():
    return load_volume(template_path())


@pytest.fixture(scope="module")
def result(template, model):
    return segment(template, model)


def centres(segmentation):
    """Label -> centre in RAS mm."""
    labels = segmentation.labels
    found = {}
    for structure in segmentation.structures:
        kji = np.argwhere(labels.array == structure.label)
        found[structure.label] = transform_points(labels.ijk_to_ras, kji[:, ::-1]).mean(0)
    return found


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def reoriented(volume, order, flips):
    """The same scan with its array axes permuted and flipped, and a matrix that says so."""
    array, matrix = volume.array, volume.ijk_to_ras.copy()
    for axis, flip in enumerate(flips):  # (k, j, i)
        if flip:
            column = 2 - axis
            last = array.shape[axis] - 1
            matrix[:3, 3] += last * matrix[:3, column]
            matrix[:3, column] *= -1
            array = np.flip(array, axis)
    columns = [2 - a for a in order][::-1]
    return Volume(
        np.ascontiguousarray(array.transpose(order)), matrix[:, [*columns, 3]], volume.name
    )


@pytest.mark.slow
def test_both_hippocampi_lie_where_the_template_has_them(result):
    """MNI space: the hippocampi lie about 26 mm beside the midline, 22 mm behind and 14 mm below
    the origin.
    """
    place = centres(result)
    for labels, x in (((1, 2), -26), ((3, 4), 26)):
        middle = (place[labels[0]] + place[labels[1]]) / 2
        assert np.linalg.norm(middle - (x, -24, -13)) < 6, middle
        assert place[labels[0]][1] > place[labels[1]][1] + 8  # anterior before posterior
    assert all(1.0 < ml < 4.0 for ml in result.volumes_ml.values()), result.volumes_ml
    assert not result.notes


def test_a_symmetric_head_gives_symmetric_volumes(result):
    left = sum(ml for name, ml in result.volumes_ml.items() if name.startswith("left"))
    right = sum(ml for name, ml in result.volumes_ml.items() if name.startswith("right"))
    assert abs(left - right) / (left + right) < 0.03


@pytest.mark.slow
@pytest.mark.parametrize(
    "order, flips", (((0, 1, 2), (1, 1, 0)), ((2, 0, 1), (0, 1, 1)), ((1, 2, 0), (1, 0, 1)))
)
def test_orientation_does_not_matter(order, flips, template, result, model):
    turned = segment(reoriented(template, order, flips), model)
    back = turned.labels.array.transpose(np.argsort(order))
    for axis, flip in enumerate(flips):
        back = np.flip(back, axis) if flip else back
    for label in (1, 2, 3, 4):
        assert dice(back == label, result.labels.array == label) > 0.97


@pytest.mark.slow
def test_a_mirrored_header_mirrors_the_sides(template, result, model):
    mirrored = Volume(template.array, np.diag([-1.0, 1, 1, 1]) @ template.ijk_to_ras, "mirrored")
    found = segment(mirrored, model).labels.array
    assert (found[result.labels.array == 1] == 3).mean() > 0.9
    assert (found[result.labels.array == 4] == 2).mean() > 0.9


@pytest.mark.slow
def test_the_command_line_writes_what_python_returns(tmp_path, result):
    options = ["--model", "hippocampus-t1", "--output", str(tmp_path / "o.seg.nrrd")]
    assert cli.main(["segment", str(template_path()), *options]) == 0
    image = sitk.ReadImage(str(tmp_path / "o.seg.nrrd"))
    assert np.array_equal(sitk.GetArrayFromImage(image), result.labels.array)
    assert image.GetMetaData("Segment0_Name") == "Left hippocampus (anterior)"


@pytest.mark.slow
@pytest.mark.parametrize(
    "size", ((64, 64, 64), (160, 180, 150)), ids=("as small as a crop", "as large as a head")
)
def test_noise_is_refused(size, model):
    noise = np.random.default_rng(3).normal(500, 100, size).astype(np.float32)
    with pytest.raises(UserError, match="No hippocampus was found"):
        segment(Volume(noise, np.eye(4), "noise"), model)


@needs_shared
@pytest.mark.parametrize("name", ("example_ct.nii.gz", "example_mr_sm.nii.gz", "example_ct_dicom"))
def test_other_body_parts_are_refused(name, model):
    with pytest.raises(UserError, match="No hippocampus was found"):
        segment(load_volume(SHARED / "samples" / name), model)


@pytest.mark.slow
@needs_shared
def test_a_real_head_gets_both_sides(model):
    result = segment(load_volume(SHARED / "samples/head_t1.nii.gz"), model)
    place = centres(result)
    assert set(np.unique(result.labels.array)) == {0, 1, 2, 3, 4}
    for left, right in ((1, 3), (2, 4)):
        assert place[left][0] < place[right][0] - 35
    assert all(0.8 < ml < 4.0 for ml in result.volumes_ml.values()), result.volumes_ml


@pytest.mark.parametrize("side", (None, "right"))
def test_a_crop_around_the_right_one_is_outlined_as_in_the_whole_head(
    side, template, result, model
):
    """Without a side, too: which way round a crop looks is found out."""
    middle = (centres(result)[3] + centres(result)[4]) / 2
    half_mm = np.array((20, 28, 20))
    corners_ras = [middle - half_mm, middle + half_mm]
    corners_ijk = transform_points(np.linalg.inv(template.ijk_to_ras), corners_ras)
    low, high = np.round(corners_ijk).astype(int)
    box = tuple(map(slice, low[::-1], high[::-1]))  # [k, j, i]
    matrix = template.ijk_to_ras.copy()
    matrix[:3, 3] = transform_points(matrix, low)
    crop = segment(Volume(template.array[box], matrix, "crop"), model, side=side)
    labels_of_crop = (1, 2) if side is None else (3, 4)
    for label, label_in_head in zip(labels_of_crop, (3, 4), strict=True):
        in_head = result.labels.array[box] == label_in_head
        assert dice(crop.labels.array == label, in_head) > 0.93
    assert "right" in crop.notes[0]


@pytest.mark.slow
@needs_shared
def test_evaluate_on_crops_that_were_never_trained_on(tmp_path):
    """Three cases of the validation split, so that the test split stays unread by tests."""
    cases = tmp_path / "cases.txt"
    cases.write_text("\n".join(("hippocampus_001", "hippocampus_044", "hippocampus_045")))
    output = tmp_path / "scores.csv"
    assert (
        cli.main(
            [
                "evaluate",
                "--model",
                "hippocampus-t1",
                "--data",
                str(SHARED / "hippocampus"),
                "--cases",
                str(cases),
                "--output",
                str(output),
            ]
        )
        == 0
    )
    rows = list(csv.DictReader(output.open()))
    assert [r["case"] for r in rows] == cases.read_text().split()
    assert list(rows[0])[:3] == ["case", "dice_anterior", "dice_posterior"]
    anterior = [float(row["dice_anterior"]) for row in rows]
    posterior = [float(row["dice_posterior"]) for row in rows]
    assert np.mean([*anterior, *posterior]) > 0.87


LARGE = """
import resource, sys
import numpy as np
from MedLLMSegLib import Volume, load_volume, segment
scan = load_volume(sys.argv[1])
picks = [np.arange(512) * n // 512 for n in scan.array.shape]
matrix = scan.ijk_to_ras.copy()
matrix[:3, :3] *= np.array(scan.array.shape[::-1]) / 512
large = Volume(scan.array[np.ix_(*picks)].astype(np.int16), matrix, "512 cubed")
result = segment(large, "hippocampus-t1")
print(sum(result.volumes_ml.values()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** 20)
"""


@pytest.mark.slow
def test_a_512_cubed_scan_fits_a_laptop(result):
    """In a process of its own, so that the peak is this run's: far below 8 GB, and the same
    volumes as at 1 mm.
    """
    out = subprocess.run(
        [sys.executable, "-c", LARGE, str(template_path())],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert out.returncode == 0, out.stderr
    ml, peak_gb = map(float, out.stdout.split())
    assert peak_gb < 4, peak_gb
    assert abs(ml / sum(result.volumes_ml.values()) - 1) < 0.05
