"""A series of images is segmented image by image: into one 4D label map and a table of volumes
over time.
"""

import csv

import numpy as np
import pytest

from MedLLMSegLib import (
    Cancelled,
    UserError,
    Volume,
    load_model,
    load_volume,
    save_volume,
    segment,
    segment_frames,
)
from MedLLMSegLib.cli import main as cli
from MedLLMSegLib.io.itk_images import FRAME_STEP
from Testing.helpers.tiny_segmenter import oblique, tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def cine(tmp_path):
    """Three images of 15 oblique slices, in which a bright ball grows."""
    k, j, i = np.ogrid[:15, :44, :52]
    far = (3 * (k - 7)) ** 2 + (j - 20) ** 2 + (i - 25) ** 2
    noise = np.random.default_rng(0).normal(100, 8, (3, 15, 44, 52))
    images = noise + 120 * np.stack([far < radius**2 for radius in (6, 10, 14)])
    matrix = oblique(images.shape[1:], (1.3, 1.3, 4.0))
    return save_volume(
        Volume(images.astype(np.int16), matrix, tags={FRAME_STEP: 0.03}), tmp_path / "cine.nii.gz"
    )


def run(scan, bundle, output, *more):
    return cli.main(
        [
            "segment",
            str(scan),
            "--model",
            str(bundle),
            "--device",
            "cpu",
            "--output",
            str(output),
            "--frames",
            *more,
        ]
    )


def table(path):
    return list(csv.DictReader(path.open(encoding="utf-8")))


def test_each_image_gets_what_it_would_get_alone(bundle, cine, tmp_path, capsys):
    assert run(cine, bundle, tmp_path / "labels.nii.gz") == 0
    out, series, model = capsys.readouterr().out, load_volume(cine), load_model(bundle, "cpu")
    written = load_volume(tmp_path / "labels.nii.gz")
    assert written.array.shape == (3, 15, 44, 52)
    assert written.array.dtype == np.uint8
    assert written.tags[FRAME_STEP] == pytest.approx(
        0.03
    )  # seconds from image to image, as in the cine
    assert np.abs(written.grid.corners_ras() - series.grid.corners_ras()).max() < 1e-3
    alone = [segment(series.with_array(image), model) for image in series.array]
    for n, one in enumerate(alone):
        assert np.array_equal(written.array[n], one.labels.array), n
    rows = table(tmp_path / "labels_volumes.csv")
    assert [row["frame"] for row in rows] == ["0", "1", "2"]
    for key in alone[0].volumes_ml:
        ml = [one.volumes_ml[key] for one in alone]
        assert [float(row[f"{key}_ml"]) for row in rows] == pytest.approx(ml, abs=1e-3)
        assert max(ml) > 0
        assert f"{np.mean(ml):.2f} mL ({min(ml):.2f} to {max(ml):.2f} in 3 images" in out


def test_a_folder_of_series_goes_on_where_it_was(bundle, cine, tmp_path, capsys):
    assert run(cine, bundle, tmp_path / "out") == 0
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {"cine.nii.gz", "cine_volumes.csv", "cine.medllmseg.json", "volumes.csv"}
    assert run(cine, bundle, tmp_path / "out") == 0
    assert "finished before, skipped" in capsys.readouterr().out
    (tmp_path / "out/cine_volumes.csv").write_text("mine")
    assert (
        run(cine, bundle, tmp_path / "out", "--augment", "1") == 2
    )  # another run; but the table is somebody's now
    assert "was changed since" in capsys.readouterr().err
    assert (tmp_path / "out/cine_volumes.csv").read_text() == "mine"


def test_one_image_is_a_series_of_one(bundle, cine, tmp_path):
    image = load_volume(cine).with_array(load_volume(cine).array[1])
    assert np.array_equal(
        segment_frames(image, bundle, device="cpu").labels.array[0],
        segment(image, bundle, device="cpu").labels.array,
    )


@pytest.mark.parametrize(
    "output, more, words",
    [
        ("labels.seg.nrrd", [], "end it with .nii.gz"),
        ("labels.nii.gz", ["--report"], "leave --report out"),
        ("labels.nii.gz", ["--uncertainty", "u.nii.gz"], "leave --uncertainty out"),
    ],
)
def test_what_a_series_cannot_have_is_said_first(
    bundle, cine, tmp_path, capsys, output, more, words
):
    assert run(cine, bundle, tmp_path / output, *more) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / output).exists()


def test_a_table_of_somebody_else_is_not_overwritten(bundle, cine, tmp_path, capsys):
    (tmp_path / "labels_volumes.csv").write_text("patient,mL")
    assert run(cine, bundle, tmp_path / "labels.nii.gz") == 2
    assert "not one of our tables" in capsys.readouterr().err
    assert not (tmp_path / "labels.nii.gz").exists()


def test_an_image_that_cannot_be_segmented_is_named_and_nothing_written(bundle, cine, tmp_path):
    series = load_volume(cine)
    images = series.array.astype(np.float32)
    images[2] = 7
    with pytest.raises(UserError, match=r"Image 3 of 3: .* same value"):
        segment_frames(series.with_array(images), bundle, device="cpu")


def test_without_the_option_a_series_is_refused_with_a_hint(bundle, cine, tmp_path, capsys):
    assert (
        cli.main(
            ["segment", str(cine), "--model", str(bundle), "--output", str(tmp_path / "x.nii.gz")]
        )
        == 2
    )
    assert "series of 3 images" in (err := capsys.readouterr().err)
    assert "--frames" in err


def test_progress_runs_over_all_images_and_cancels(bundle, cine):
    seen = []

    def stop(stage, fraction):
        seen.append((stage, fraction))
        if stage.startswith("image 2 of 3"):
            raise Cancelled

    with pytest.raises(Cancelled):
        segment_frames(load_volume(cine), bundle, device="cpu", progress=stop)
    assert seen[-1][1] == pytest.approx(1 / 3)
    assert [f for _, f in seen] == sorted(f for _, f in seen)
