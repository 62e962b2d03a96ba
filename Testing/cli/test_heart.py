"""`medllmseg heart`: figures, a table and a page, and what it refuses."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest

from MedLLMSegLib.anatomy.structures import cardiac_structures
from MedLLMSegLib.cli import main as cli
from MedLLMSegLib.core.domain_verdict import DomainVerdict
from MedLLMSegLib.core.geometry import Grid
from MedLLMSegLib.core.quality import Quality, ScanQuality
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.io.volume_files import load_volume, save_volume
from MedLLMSegLib.metrics.heart_intervals import FIELD, HeartIntervals
from MedLLMSegLib.metrics.measured_heart import measure_heart
from MedLLMSegLib.metrics.wall_thickness import HeartLabels
from MedLLMSegLib.registry.catalogue import METADATA, measured_model, read_metadata
from MedLLMSegLib.segmentation import pipeline, time_series
from MedLLMSegLib.segmentation.time_series import SeriesSegmentation
from Testing.helpers.heart_bundle import heart_bundle
from Testing.helpers.heart_phantom import INNER_MM, SHAPE, WALL_MM2, heart_series, left_ml

INTERVALS = HeartIntervals(
    {"LV end-diastolic volume": 1.1}, {"LV ejection fraction": 7.5}, 0.9, 20, "of one hospital"
)


@pytest.fixture
def files(tmp_path):
    scan, labels = heart_series()
    save_volume(scan, tmp_path / "cine.nii.gz")
    save_volume(labels, tmp_path / "labels.nii.gz")
    return SimpleNamespace(
        scan=str(tmp_path / "cine.nii.gz"), labels=str(tmp_path / "labels.nii.gz"), folder=tmp_path
    )


def table_of(folder):
    with open(folder / "function.csv", encoding="utf-8") as file:
        return {row["figure"]: row for row in csv.DictReader(file)}


def test_a_corrected_series_gives_figures_a_table_and_a_page(files, capsys):
    out = files.folder / "out"
    person = ["--height", "180", "--weight", "80", "--heart-rate", "60"]
    command = ["heart", files.scan, "--labels", files.labels, "--output", str(out), *person]
    assert cli.main(command) == 0
    rows = table_of(out)
    assert (rows["End-diastolic image"]["value"], rows["End-systolic image"]["value"]) == ("1", "4")
    full, empty = left_ml(INNER_MM[0]), left_ml(INNER_MM[3])
    edv = float(rows["LV end-diastolic volume"]["value"])
    assert edv == pytest.approx(full, rel=0.01)
    assert float(rows["LV end-diastolic volume"]["indexed"]) == pytest.approx(edv / 2, abs=0.01)
    ejection = 100 * (1 - empty / full)
    assert float(rows["LV ejection fraction"]["value"]) == pytest.approx(ejection, abs=0.7)
    mass = 1.05 * WALL_MM2 * 10 * SHAPE[0] / 1000
    assert float(rows["LV myocardial mass"]["value"]) == pytest.approx(mass, rel=0.01)
    output = float(rows["Cardiac output"]["value"])
    assert output == pytest.approx((full - empty) * 60 / 1000, rel=0.02)
    thin, thick = (
        float(rows[f"Wall thickness {phase}, mid anterior"]["value"]) for phase in ("ED", "ES")
    )
    assert thin == pytest.approx(8, abs=0.5)
    assert thick == pytest.approx(np.sqrt(INNER_MM[3] ** 2 + WALL_MM2 / np.pi) - 13, abs=0.5)
    page = (out / "report.html").read_text(encoding="utf-8")
    for words in ("LV ejection fraction", "body surface 2.00", "curves.png", "wall.png", "heart "):
        assert words in page
    assert all((out / name).stat().st_size > 5000 for name in ("curves.png", "slices.png"))
    assert "LV ejection fraction" in capsys.readouterr().out


def test_two_files_are_two_images(files):
    scan, labels = heart_series((INNER_MM[3], INNER_MM[0]))  # empty, full
    for number in (0, 1):
        each = scan.with_array(scan.array[number])
        save_volume(each, files.folder / f"{number}.nii.gz")
    save_volume(labels, files.folder / "two.nii.gz")
    images = [str(files.folder / f"{number}.nii.gz") for number in (0, 1)]
    out = files.folder / "out"
    two = str(files.folder / "two.nii.gz")
    assert cli.main(["heart", *images, "--labels", two, "--output", str(out)]) == 0
    rows = table_of(out)
    assert (rows["End-diastolic image"]["value"], rows["End-systolic image"]["value"]) == ("2", "1")
    assert "Cardiac output" not in rows


def test_an_earlier_result_is_kept(files, capsys):
    command = ["heart", files.scan, "--labels", files.labels, "-o", str(files.folder / "out")]
    assert cli.main(command) == 0
    assert cli.main(command) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert cli.main([*command, "--overwrite"]) == 0


RESULTS = ("function.csv", "labels.nii.gz", "volumes.csv", "report.html", "report.txt")
PICTURES = ("curves.png", "slices.png", "wall.png")


@pytest.mark.parametrize("name", RESULTS + PICTURES)
def test_a_file_of_a_results_name_is_kept(files, capsys, name):
    out = files.folder / "out"
    out.mkdir()
    (out / name).write_text("mine")
    (out / "notes.txt").write_text("mine")
    command = ["heart", files.scan, "--labels", files.labels, "-o", str(out)]
    assert cli.main(command) == 2
    said = capsys.readouterr().err
    assert name in said
    assert said.count("\n") == 1
    assert [path.read_text() for path in out.iterdir()] == ["mine", "mine"]
    assert cli.main([*command, "--overwrite"]) == 0
    assert (out / "notes.txt").read_text() == "mine"
    if name == "labels.nii.gz":  # --labels writes none, and removes none
        assert (out / name).read_text() == "mine"
    else:
        assert (out / name).read_bytes() != b"mine"


@pytest.mark.parametrize("is_scan", [True, False])
def test_what_is_read_is_never_written_over(files, capsys, is_scan):
    read = files.folder / "labels.nii.gz"  # the name of a result, in the folder of the results
    before = read.read_bytes()
    given = [str(read)] if is_scan else [files.scan, "--labels", str(read)]
    assert cli.main(["heart", *given, "-o", str(files.folder), "--overwrite"]) == 2
    assert "read by this run" in capsys.readouterr().err
    assert read.read_bytes() == before


def test_given_outlines_get_their_volumes_over_time(files):
    out = files.folder / "out"
    assert cli.main(["heart", files.scan, "--labels", files.labels, "-o", str(out)]) == 0
    with open(out / "volumes.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    keys = ["right_ventricle_ml", "myocardium_ml", "left_ventricle_ml"]
    assert list(rows[0])[1:] == keys
    found = [float(row["left_ventricle_ml"]) for row in rows]
    assert found == pytest.approx([left_ml(inner) for inner in INNER_MM], rel=0.02)
    written = {path.name for path in out.iterdir()}
    pictures = {"curves.png", "slices.png", "wall.png"}
    assert written == {"function.csv", "volumes.csv", "report.html", "report.txt", *pictures}


def one_image(files):
    scan = load_volume(files.scan)
    save_volume(scan.with_array(scan.array[0]), files.folder / "one.nii.gz")
    return ["heart", str(files.folder / "one.nii.gz"), "--labels", files.labels]


def another_grid(files):
    labels = load_volume(files.labels)
    save_volume(labels.with_array(labels.array[:, :, :-1]), files.folder / "cut.nii.gz")
    return ["heart", files.scan, "--labels", str(files.folder / "cut.nii.gz")]


def another_label(files):
    labels = load_volume(files.labels)
    save_volume(labels.with_array(labels.array * 2), files.folder / "odd.nii.gz")
    return ["heart", files.scan, "--labels", str(files.folder / "odd.nii.gz")]


def nothing_found(files):
    labels = load_volume(files.labels)
    save_volume(labels.with_array(labels.array * 0), files.folder / "none.nii.gz")
    return ["heart", files.scan, "--labels", str(files.folder / "none.nii.gz")]


def images_of_two_grids(files):
    scan = load_volume(files.scan)
    save_volume(scan.with_array(scan.array[0]), files.folder / "a.nii.gz")
    save_volume(scan.with_array(scan.array[0, :-1]), files.folder / "b.nii.gz")
    return ["heart", *(str(files.folder / f"{name}.nii.gz") for name in "ab")]


def a_height_in_metres(files):
    return ["heart", files.scan, "--labels", files.labels, "--height", "1.8", "--weight", "80"]


def a_model_of_something_else(files):
    return ["heart", files.scan, "--model", "hippocampus-t1"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (one_image, "two images at least"),
        (another_grid, "same grid"),
        (another_label, "label 4"),  # the first unknown one of 2, 4 and 6
        (nothing_found, "found in 0 of 6 images"),
        (images_of_two_grids, "one series"),
        (a_height_in_metres, "in cm"),
        (a_model_of_something_else, "no structure right ventricle"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(files, capsys, make, words):
    out = files.folder / "out"
    assert cli.main([*make(files), "--output", str(out)]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not (out / "function.csv").exists()


def test_a_wall_that_cannot_be_measured_leaves_the_volumes():
    _, labels = heart_series()
    maps = [
        labels.with_array(np.where(each == 1, 0, each).astype(np.uint8)) for each in labels.array
    ]
    heart = measure_heart(maps, HeartLabels())
    assert heart.thickness_mm is None
    assert heart.function.left.ejection_percent == pytest.approx(65, abs=1)
    assert any("wall's thickness is not available" in note for note in heart.notes)
    assert Grid(maps[0].array.shape, maps[0].ijk_to_ras).voxel_ml == pytest.approx(0.0225)


def outlined(monkeypatch, files, images, **fields):
    """Have the command's model, a bundle with these fields, outline the images so."""
    folder = heart_bundle(files.folder, **fields)
    model = SimpleNamespace(entry=SimpleNamespace(folder=folder))
    monkeypatch.setattr(pipeline, "load_model", lambda *_: model)
    monkeypatch.setattr(pipeline, "all_structures", lambda _model: cardiac_structures())
    monkeypatch.setattr(time_series, "segment_frames", lambda *_, **__: SeriesSegmentation(images))
    return folder


def keep_intervals(folder, **changes):
    metadata = read_metadata(folder)
    owner = measured_model(metadata).sha256
    entry = {"measured_model": owner, **INTERVALS.to_dict(), **changes}
    (folder / METADATA).write_text(json.dumps({**metadata, FIELD: entry}), encoding="utf-8")


@pytest.mark.parametrize("case", ["known", "outside", "another model", "own outlines"])
def test_the_intervals_of_the_measured_model_are_shown(files, capsys, monkeypatch, case):
    _, labels = heart_series()
    far = DomainVerdict(True, 9.0, 2.0, "its features lie far away")
    images = tuple(
        Segmentation(
            labels.with_array(each),
            cardiac_structures(),
            {},
            domain=far if case == "outside" and n == 2 else None,
        )
        for n, each in enumerate(labels.array)
    )
    folder = outlined(monkeypatch, files, images)
    keep_intervals(folder, **({"measured_model": "0" * 64} if case == "another model" else {}))
    out, own = files.folder / "out", ["--labels", files.labels] if case == "own outlines" else []
    assert cli.main(["heart", files.scan, "--output", str(out), *own]) == 0
    row = table_of(out)["LV ejection fraction"]
    value = float(row["value"])
    told = f"({value - 7.5:.1f} to {value + 7.5:.1f})"
    texts = [(out / name).read_text(encoding="utf-8") for name in ("report.html", "report.txt")]
    known = case == "known"
    assert (told in capsys.readouterr().out) == known
    assert (f"{value:.0f} % {told}" in texts[1]) == known
    assert (told[1:-1] in texts[0]) == known
    assert ("Interval of 90 %" in texts[0]) == known
    assert ("nothing is promised" in texts[1]) == known
    if known:
        ends = float(row["low"]), float(row["high"])
        assert ends == pytest.approx((value - 7.5, value + 7.5), abs=0.011)
    else:
        assert (row["low"], row["high"]) == ("", "")
    assert table_of(out)["RV ejection fraction"]["low"] == ""  # nothing is known of it


@pytest.mark.parametrize("known", [True, False])
def test_the_light_of_the_worst_image_is_printed_and_stands_on_the_page(
    files, capsys, monkeypatch, known
):
    _, labels = heart_series()
    doubt = Quality("amber", ("the expected Dice is 0.71",))
    lights = [ScanQuality(doubt if n == 2 else Quality()) if known else None for n in range(6)]
    images = tuple(
        Segmentation(labels.with_array(each), cardiac_structures(), {}, quality=light)
        for each, light in zip(labels.array, lights, strict=True)
    )
    outlined(monkeypatch, files, images)
    out = files.folder / "out"
    assert cli.main(["heart", files.scan, "--output", str(out)]) == 0
    said = "amber (look closely): 1 of 6 images are amber; image 3: the expected Dice is 0.71"
    pages = [(out / name).read_text(encoding="utf-8") for name in ("report.html", "report.txt")]
    for text in (capsys.readouterr().out, *pages):
        assert (said in text) == known
        assert ("uality: " in text) == known
    assert ('class="light amber"' in pages[0]) == known
