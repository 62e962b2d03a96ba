"""Every bad input: one sentence that says what was found and what to do, exit code 2, no
traceback, nothing half-written.
"""

import json
import logging
import resource
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

from MedLLMSegLib.anatomy.structures import hippocampus_structures
from MedLLMSegLib.cli import main as cli
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.registry.catalogue import BUNDLES, METADATA
from MedLLMSegLib.segmentation import pipeline
from MedLLMSegLib.segmentation.batch import segment_batch as batch
from Testing.helpers.loaded_stand_in import loaded_stand_in

NOISE = np.random.default_rng(0).normal(100, 20, (20, 24, 22)).astype(np.float32)


def write(path, array=NOISE, spacing=(1.0, 1.0, 1.0)):
    image = sitk.GetImageFromArray(array, isVector=False)
    image.SetSpacing(spacing + (1.0,) * (array.ndim - 3))
    sitk.WriteImage(image, str(path))
    return path


def spoilt(value):
    array = NOISE.copy()
    array[3, 4, 5] = value
    return array


def zero_spacing(path):
    write(path)
    import gzip

    data = bytearray(gzip.decompress(path.read_bytes()))
    data[80:92] = np.zeros(3, np.float32).tobytes()  # pixdim[1..3] of the NIfTI header
    path.write_bytes(gzip.compress(bytes(data)))
    return path


def truncated(path):
    write(path)
    path.write_bytes(path.read_bytes()[:3000])
    return path


def text(path, content="this is no image"):
    path.write_text(content)
    return path


def folder(path):
    path.mkdir()
    text(path / "notes.txt")
    return path


def colour(path):
    sitk.WriteImage(
        sitk.GetImageFromArray(np.stack([NOISE] * 3, -1).astype(np.uint8), isVector=True), str(path)
    )
    return path


def copied_bundle(path, damage):
    import shutil

    shutil.copytree(BUNDLES / "hippocampus-t1", path)
    damage(path)
    return path


def change_sha(path):
    meta = path / METADATA
    meta.write_text(meta.read_text().replace('"weights_sha256": "', '"weights_sha256": "0'))


def change(key, value):
    def damage(path):
        meta = path / METADATA
        meta.write_text(json.dumps({**json.loads(meta.read_text()), key: value}))

    return damage


def change_weights(path):
    file = path / "models/model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"?")


# name -> (how to make the scan, further arguments, words of the sentence)
SCANS = {
    "2D image": (lambda p: write(p / "flat.nii.gz", NOISE[:1]), "flat image"),
    "4D image": (lambda p: write(p / "cine.nii.gz", np.stack([NOISE] * 3)), "series of 3 images"),
    "constant": (lambda p: write(p / "air.nrrd", NOISE * 0), "same value (0)"),
    "NaN": (lambda p: write(p / "nan.nii.gz", spoilt(np.nan)), "NaN"),
    "infinite": (lambda p: write(p / "inf.nii.gz", spoilt(np.inf)), "infinite"),
    "zero spacing": (lambda p: zero_spacing(p / "zero.nii.gz"), "voxel size"),
    "colour": (lambda p: colour(p / "colour.nrrd"), "colour"),
    "no organ": (lambda p: write(p / "noise.nii.gz"), "No brain was found"),
    "wrong file type": (lambda p: text(p / "notes.docx"), "not a scan in a format"),
    "text called NIfTI": (lambda p: text(p / "fake.nii.gz"), "fake.nii.gz"),
    "empty file": (lambda p: text(p / "empty.nii.gz", ""), "empty"),
    "truncated file": (lambda p: truncated(p / "half.nii.gz"), "half.nii.gz"),
    "missing file": (lambda p: p / "gone.nii.gz", "no file"),
    "folder without DICOM": (lambda p: folder(p / "series"), "holds no scan"),
}
MODELS = {
    "missing bundle": (lambda p: p / "nowhere", "no model called"),
    "folder that is no bundle": (lambda p: folder(p / "other"), "not a model bundle"),
    "wrong sha256": (
        lambda p: copied_bundle(p / "b", change_sha),
        "not the ones it was published with",
    ),
    "tampered weights": (
        lambda p: copied_bundle(p / "b", change_weights),
        "not the ones it was published with",
    ),
    **{
        f"bundle whose {key} is {value!r}": (
            lambda p, key=key, value=value: copied_bundle(p / "b", change(key, value)),
            words,
        )
        for key, value, words in (
            ("network", None, "damaged"),
            ("llm_sha256", "", "llm verify"),
            ("preprocessing", {}, "damaged"),
            ("structures", 3, "damaged"),
            ("anatomy", "spleen", "damaged"),
            ("localizer", "nowhere", "no model called"),
        )
    },
    "bundle without weights": (
        lambda p: copied_bundle(p / "b", lambda b: (b / "models/model.safetensors").unlink()),
        "no readable models/model.safetensors",
    ),
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path / "cache"))


def refused(capsys, tmp_path, argv, words, output="out"):
    before = sorted(p for p in tmp_path.rglob("*") if "cache" not in p.parts)
    code = cli.main([str(a) for a in argv])
    error = capsys.readouterr().err.strip()
    assert code == 2, error
    assert words in error, error
    sentence = error.removeprefix("medllmseg: ")
    assert len(error.splitlines()) == 1, error
    assert sentence.endswith("."), error
    assert ". " not in sentence, error
    assert "Traceback" not in error, error
    assert sorted(p for p in tmp_path.rglob("*") if "cache" not in p.parts) == before, (
        "something half-written was left"
    )
    assert "Traceback" in (tmp_path / "cache/medllmseg.log").read_text()


@pytest.mark.parametrize("name", SCANS)
def test_bad_scans(name, tmp_path, capsys):
    make, words = SCANS[name]
    refused(
        capsys, tmp_path, ["segment", make(tmp_path), "--output", tmp_path / "out.nii.gz"], words
    )


@pytest.mark.parametrize("name", MODELS)
def test_bad_models(name, tmp_path, capsys):
    make, words = MODELS[name]
    scan = write(tmp_path / "scan.nii.gz")
    refused(
        capsys,
        tmp_path,
        ["segment", scan, "--output", tmp_path / "out.nii.gz", "--model", make(tmp_path)],
        words,
    )


def fails(monkeypatch, error):
    """Every command fails with an error like this one. It is made anew each time, because an error
    that is raised again and again gathers one traceback after the other.
    """

    def run(args, command):
        raise type(error)(*error.args)

    monkeypatch.setattr(
        cli,
        "build_parser",
        lambda: SimpleNamespace(parse_args=lambda argv: SimpleNamespace(run=run)),
    )


@pytest.mark.parametrize(
    "error",
    (MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")),
)
def test_too_little_memory_is_one_sentence(error, tmp_path, monkeypatch, capsys):
    fails(monkeypatch, error)
    refused(
        capsys,
        tmp_path,
        [],
        "not enough memory for this; close other programs and scans and try again, or use a smaller"
        " scan",
    )


@pytest.mark.parametrize("earlier_bytes", (0, 3000, 100_000), ids="{} bytes before".format)
def test_the_log_stays_small_and_the_logger_is_left_as_it_was(earlier_bytes, tmp_path, monkeypatch):
    """Also where earlier commands left a log, be it longer than it may become now."""
    cache = tmp_path / "cache"
    if earlier_bytes:
        cache.mkdir()
        (cache / "medllmseg.log").write_text("earlier\n" * (earlier_bytes // 8))
    logger = logging.getLogger("medllmseg")
    handlers, propagate = logger.handlers[:], logger.propagate
    fails(monkeypatch, UserError("The scan is upside down; turn it and try again."))
    monkeypatch.setattr(cli, "LOG_BYTES", 5000)
    for _ in range(40):
        assert cli.main([]) == 2
    logs = sorted(cache.iterdir())
    assert [path.name for path in logs] == ["medllmseg.log", "medllmseg.log.1"]
    assert all(0 < path.stat().st_size < 5000 for path in logs)
    assert (logger.handlers, logger.propagate) == (handlers, propagate)


@pytest.fixture
def stand_in(monkeypatch):
    """Segments at once: the upper half of the scan."""

    def segment(volume, model, probabilities=False, progress=None, **_):
        pipeline.check_scan(volume)
        labels = np.zeros(volume.array.shape, np.uint8)
        labels[: len(labels) // 2] = np.random.default_rng(0).integers(
            0, 3, (len(labels) // 2, *labels.shape[1:])
        )
        maps = volume.with_array(np.ones((2, *labels.shape), np.float32)) if probabilities else None
        return Segmentation(
            volume.with_array(labels), hippocampus_structures(lateral=False), {1: 0.9, 2: 0.8}, maps
        )

    monkeypatch.setattr(batch, "segment", segment)
    monkeypatch.setattr(pipeline, "load_model", lambda *a: loaded_stand_in())


OUTPUTS = {
    "a file where a folder is needed": (lambda p: text(p / "file") / "out.nii.gz", [], "is a file"),
    "a folder where a file is needed": (lambda p: folder(p / "out.nii.gz"), [], "in the way"),
    "an unknown device": (lambda p: p / "out.nii.gz", ["--device", "tpu"], "not a device"),
    "probabilities of unknown format": (
        lambda p: p / "out.nii.gz",
        ["--probabilities", "maps.docx"],
        "maps.docx",
    ),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_bad_outputs(name, tmp_path, capsys, stand_in, monkeypatch):
    make, more, words = OUTPUTS[name]
    if "--device" in more:
        monkeypatch.undo()
        monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path / "cache"))
    scan = write(tmp_path / "scan.nii.gz")
    refused(capsys, tmp_path, ["segment", scan, "--output", make(tmp_path), *more], words)


@pytest.mark.parametrize("suffix", (".nii.gz", ".nrrd", ".seg.nrrd"))
def test_full_disk(suffix, tmp_path, capsys, stand_in):
    """A limit on file sizes stands in for a full disk: the write fails midway in the same way."""
    scan = write(tmp_path / "scan.nii.gz", np.tile(NOISE, (4, 4, 4)))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        refused(capsys, tmp_path, ["segment", scan, "--output", tmp_path / f"out{suffix}"], "free")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_another_scan_of_the_same_name_is_not_taken_for_finished(
    tmp_path, capsys, stand_in, monkeypatch
):
    for n in ("p1", "p2"):
        (tmp_path / n).mkdir()
        write(tmp_path / n / "t1.nii.gz", spacing=(1.0, 1.0, 1.0 if n == "p1" else 2.0))
    monkeypatch.chdir(tmp_path / "p1")
    assert cli.main(["segment", "t1.nii.gz", "--output", str(tmp_path / "out")]) == 0
    table = (tmp_path / "out/volumes.csv").read_text()
    monkeypatch.chdir(tmp_path / "p2")
    assert cli.main(["segment", "t1.nii.gz", "--output", str(tmp_path / "out")]) == 2
    assert "was not made from" in capsys.readouterr().err
    assert (tmp_path / "out/volumes.csv").read_text() == table
    monkeypatch.chdir(tmp_path / "p1")
    write(
        tmp_path / "p1/t1.nii.gz", NOISE + 1
    )  # exported again: the old result does not stand for it
    assert cli.main(["segment", "t1.nii.gz", "--output", str(tmp_path / "out")]) == 0
    assert "1 segmented, 0 skipped" in capsys.readouterr().out


def test_files_of_others_in_the_folder_are_spared(tmp_path, capsys, stand_in):
    write(tmp_path / "t1.nrrd"), write(tmp_path / "t1.nii.gz"), text(tmp_path / "t1.json", "{}")
    before = (tmp_path / "t1.nii.gz").read_bytes()
    assert cli.main(["segment", str(tmp_path / "t1.nrrd"), "--output", str(tmp_path)]) == 2
    assert (tmp_path / "t1.nii.gz").read_bytes() == before
    assert (tmp_path / "t1.json").read_text() == "{}"


def test_the_table_keeps_what_earlier_runs_left(tmp_path, stand_in):
    for n in "ab":
        scan = write(tmp_path / f"{n}.nii.gz")
        assert cli.main(["segment", str(scan), "--output", str(tmp_path / "out")]) == 0
    rows = (tmp_path / "out/volumes.csv").read_text().splitlines()
    assert len(rows) == 3
    assert "a.nii.gz" in rows[1]
    assert "b.nii.gz" in rows[2]


def test_corrections_by_hand_are_not_lost(tmp_path, capsys, stand_in):
    scan = write(tmp_path / "a.nii.gz")
    command = ["segment", str(scan), "--output", str(tmp_path / "out")]
    assert cli.main(command) == 0
    (tmp_path / "out/a.seg.nrrd").write_bytes(b"corrected in the Segment Editor")
    assert cli.main(command) == 0
    assert "1 skipped" in capsys.readouterr().out
    write(scan, NOISE + 1)  # the scan changes, so that the old result no longer stands for it
    assert cli.main(command) == 2
    assert "was changed since" in capsys.readouterr().err
    assert (tmp_path / "out/a.seg.nrrd").read_bytes() == b"corrected in the Segment Editor"
    assert cli.main([*command, "--overwrite"]) == 0


def test_a_table_of_the_users_is_spared(tmp_path, capsys, stand_in):
    (tmp_path / "out").mkdir()
    text(tmp_path / "out/volumes.csv", "patient,volume\n")
    assert (
        cli.main(["segment", str(write(tmp_path / "a.nii.gz")), "--output", str(tmp_path / "out")])
        == 2
    )
    assert (tmp_path / "out/volumes.csv").read_text() == "patient,volume\n"


def test_maps_must_not_take_a_labels_name(tmp_path, capsys, stand_in):
    scan = write(tmp_path / "a.nii.gz")
    assert (
        cli.main(
            [
                "segment",
                str(scan),
                "--output",
                str(tmp_path / "out"),
                "--probabilities",
                str(tmp_path / "out/a.nii.gz"),
            ]
        )
        == 2
    )
    assert "another result" in capsys.readouterr().err


def test_asking_for_more_is_not_finished(tmp_path, capsys, stand_in):
    scan = write(tmp_path / "a.nii.gz")
    command = ["segment", str(scan), "--output", str(tmp_path / "out")]
    assert cli.main(command) == 0
    assert cli.main([*command, "--probabilities", str(tmp_path / "p.nrrd")]) == 0
    assert (tmp_path / "p.nrrd").exists()


@pytest.mark.parametrize("where", ("os.replace", "builtins.open"))
def test_no_permission(where, tmp_path, capsys, stand_in, monkeypatch):
    """Root may write anywhere, so the refusal is acted."""
    scan = write(tmp_path / "scan.nii.gz")
    import builtins
    import os

    real_open = builtins.open

    def open_to_write(segmentation, path):
        with open(path, "w"):
            pass

    def refuse(*arguments, **more):
        mode = arguments[1] if len(arguments) > 1 else "r"
        if where == "builtins.open" and ("out" not in str(arguments[0]) or mode[0] not in "rw"):
            return real_open(*arguments, **more)
        raise PermissionError(13, "Permission denied", str(arguments[0]))

    monkeypatch.setattr(*((os, "replace") if where == "os.replace" else (builtins, "open")), refuse)
    if where == "builtins.open":
        monkeypatch.setattr(batch, "save_segmentation", open_to_write)
    assert cli.main(["segment", str(scan), "--output", str(tmp_path / "out.nii.gz")]) == 2
    monkeypatch.undo()
    error = capsys.readouterr().err
    assert "ermission" in error
    assert "Traceback" not in error
    assert len(error.strip().splitlines()) == 1
    assert {p.name for p in tmp_path.iterdir()} <= {"scan.nii.gz", "cache"}


def test_maps_and_labels_need_two_names(tmp_path, capsys, stand_in):
    refused(
        capsys,
        tmp_path,
        [
            "segment",
            write(tmp_path / "a.nii.gz"),
            "--output",
            tmp_path / "o.nrrd",
            "--probabilities",
            tmp_path / "o.nrrd",
        ],
        "same file",
    )


@pytest.mark.parametrize("output", ("scan.nii.gz", "."))
def test_the_scan_is_never_overwritten(output, tmp_path, capsys, stand_in):
    scan = write(tmp_path / "scan.nii.gz")
    before = scan.read_bytes()
    code = cli.main(["segment", str(scan), "--output", str(tmp_path / output)])
    assert code == 2
    assert "overwrite" in capsys.readouterr().err
    assert scan.read_bytes() == before


def test_results_in_the_folder_of_the_scans_are_not_taken_for_scans(tmp_path, capsys, stand_in):
    write(tmp_path / "a.nrrd")
    for _ in range(2):
        assert cli.main(["segment", str(tmp_path), "--output", str(tmp_path)]) == 0
    assert "0 segmented, 1 skipped" in capsys.readouterr().out


def test_one_file_for_two_scans(tmp_path, capsys):
    scans = [write(tmp_path / f"{n}.nii.gz") for n in "ab"]
    refused(
        capsys,
        tmp_path,
        ["segment", *scans, "--output", tmp_path / "out.nii.gz"],
        "2 scans were given",
    )


# ---- the batch: what fails does not stop the rest ----


def test_a_batch_goes_on_skips_and_sums_up(tmp_path, capsys, stand_in):
    scans = tmp_path / "scans"
    scans.mkdir()
    (
        write(scans / "a.nii.gz"),
        text(scans / "b.nii.gz"),
        write(scans / "c.nrrd", spacing=(2.0, 1.0, 1.0)),
    )
    command = ["segment", str(scans), "--output", str(tmp_path / "out")]
    assert cli.main(command) == 1
    shown = capsys.readouterr()
    assert "b.nii.gz" in shown.err
    assert "2 segmented, 0 skipped, 1 failed" in shown.out
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {
        f"{n}{s}" for n in "ac" for s in (".seg.nrrd", ".nii.gz", ".medllmseg.json")
    } | {"volumes.csv"}
    first = (tmp_path / "out/volumes.csv").read_text().splitlines()
    assert len(first) == 4
    assert first[0] == "scan,status,model,anterior_ml,posterior_ml,message"
    assert float(first[3].split(",")[3]) == pytest.approx(
        2 * float(first[1].split(",")[3]), abs=1e-3
    )  # voxels twice as large

    write(scans / "b.nii.gz")
    assert cli.main(command) == 0
    assert "1 segmented, 2 skipped, 0 failed" in capsys.readouterr().out
    again = (tmp_path / "out/volumes.csv").read_text().splitlines()
    assert again[1].replace("skipped", "done") == first[1]
    assert len(again) == 4


def test_scans_of_one_name_get_two_results(tmp_path, stand_in):
    for n in ("p1", "p2"):
        (tmp_path / n).mkdir()
        write(tmp_path / n / "t1.nii.gz")
    scans = [str(tmp_path / n / "t1.nii.gz") for n in ("p1", "p2")]
    assert cli.main(["segment", *scans, "--output", str(tmp_path / "out")]) == 0
    assert {p.name for p in (tmp_path / "out").glob("*.nii.gz")} == {"p1_t1.nii.gz", "p2_t1.nii.gz"}


def test_probabilities_are_written_beside(tmp_path, stand_in):
    scan = write(tmp_path / "a.nii.gz")
    assert (
        cli.main(
            [
                "segment",
                str(scan),
                "--output",
                str(tmp_path / "o.nrrd"),
                "--probabilities",
                str(tmp_path / "p.nii.gz"),
            ]
        )
        == 0
    )
    assert sitk.ReadImage(str(tmp_path / "p.nii.gz")).GetSize() == (22, 24, 20, 2)
