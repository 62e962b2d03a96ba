"""Odd paths and grids on the command line: one sentence that names them, nothing half-written."""

import json

import numpy as np
import pytest
import SimpleITK as sitk

from MedLLMSegLib.anatomy.structures import hippocampus_structures
from MedLLMSegLib.cli import main as cli
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.volume_files import load_volume, save_volume
from MedLLMSegLib.segmentation import pipeline
from MedLLMSegLib.segmentation.batch import segment_batch as batch
from Testing.helpers.loaded_stand_in import loaded_stand_in

nibabel = pytest.importorskip("nibabel")
NOISE = np.random.default_rng(0).normal(100, 20, (20, 24, 22)).astype(np.float32)


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    """Segments at once: the lower half of the scan."""

    def segment(volume, model, probabilities=False, **_):
        pipeline.check_scan(volume)
        labels = np.zeros(volume.array.shape, np.uint8)
        labels[: len(labels) // 2] = 1
        maps = volume.with_array(np.ones((2, *labels.shape), np.float32)) if probabilities else None
        return Segmentation(
            volume.with_array(labels),
            hippocampus_structures(lateral=False),
            {1: 0.9, 2: float("nan")},
            maps,
            notes=volume.notes,
        )

    monkeypatch.setattr(batch, "segment", segment)
    monkeypatch.setattr(pipeline, "load_model", lambda *a: loaded_stand_in())


def scan_file(path, shear=0.0):
    matrix = np.eye(4)
    matrix[0, 1] = shear
    return save_volume(Volume(NOISE, matrix), path)


def run(*argv):
    return cli.main([str(word) for word in argv])


def sentence(capsys, *argv):
    assert run(*argv) == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1, error
    return error


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("where", ("output", "scan"))
def test_an_empty_path_is_none(where, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scan = scan_file(tmp_path / "a.nii.gz")
    argv = ("segment", scan, "-o", "") if where == "output" else ("segment", "", "-o", "out")
    assert "path is empty" in sentence(capsys, *argv)
    assert files_in(tmp_path) == ["a.nii.gz"]


@pytest.mark.parametrize("name", ("x.dcm", "x.mha", "x.png", "x.JSON"))
def test_an_output_named_like_another_kind_of_file(name, tmp_path, capsys):
    scan = scan_file(tmp_path / "a.nii.gz")
    assert name in sentence(capsys, "segment", scan, "-o", tmp_path / name)
    assert files_in(tmp_path) == ["a.nii.gz"]
    (tmp_path / "results.v2").mkdir()
    assert run("segment", scan, "-o", tmp_path / "results.v2") == 0


def test_a_place_in_which_nothing_can_be_written(tmp_path, capsys):
    scan = scan_file(tmp_path / "a.nii.gz")
    for output in ("/proc/a.nii.gz", "/proc/out"):
        assert "/proc" in sentence(capsys, "segment", scan, "-o", output)


def test_dangling_links_are_named(tmp_path, capsys):
    link = tmp_path / "a.nii.gz"
    link.symlink_to(tmp_path / "gone.nii.gz")
    error = sentence(capsys, "segment", link, "-o", tmp_path / "out.nii.gz")
    assert "a.nii.gz" in error
    assert "gone.nii.gz" in error
    scan_file(tmp_path / "b.nii.gz")
    assert run("segment", tmp_path, "-o", tmp_path / "out") == 1
    shown = capsys.readouterr()
    assert "gone.nii.gz" in shown.err
    assert "1 segmented, 0 skipped, 1 failed" in shown.out


def test_a_dangling_link_among_slices_is_named(tmp_path, capsys):
    folder = tmp_path / "series"
    folder.mkdir()
    (folder / "IM1.dcm").symlink_to(tmp_path / "gone.dcm")
    error = sentence(capsys, "segment", folder, "-o", tmp_path / "out.nii.gz")
    assert "IM1.dcm" in error
    assert "gone.dcm" in error


def test_an_orientation_that_is_not_stated_must_be_assumed(tmp_path, capsys):
    image = nibabel.Nifti1Image(NOISE.T, np.eye(4))
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nibabel.save(image, tmp_path / "a.nii.gz")
    command = ("segment", tmp_path / "a.nii.gz", "-o", tmp_path / "out")
    assert "--assume-orientation" in sentence(capsys, *command)
    assert "not an orientation" in sentence(capsys, *command, "--assume-orientation", "RAR")
    assert run(*command, "--assume-orientation", "las") == 0
    assert "LAS was assumed" in capsys.readouterr().out
    affine = nibabel.load(tmp_path / "out/a.nii.gz").affine
    np.testing.assert_allclose(affine[:3, :3], np.diag([-1, 1, 1]), atol=1e-5)
    assert run(*command, "--assume-orientation", "LAS") == 0
    assert "1 skipped" in capsys.readouterr().out
    assert run(*command, "--assume-orientation", "RAS") == 0
    assert "1 segmented" in capsys.readouterr().out


@pytest.mark.parametrize("name", ("o.nii.gz", "o.nii"))
def test_a_sheared_scan_is_not_worked_on_for_a_nifti_file(name, tmp_path, capsys, monkeypatch):
    scan = scan_file(tmp_path / "a.nrrd", shear=0.3)
    monkeypatch.setattr(batch, "segment", None)
    assert "right angles" in sentence(capsys, "segment", scan, "-o", tmp_path / name)
    more = ("--probabilities", tmp_path / "p.nii.gz")
    assert "p.nii.gz" in sentence(capsys, "segment", scan, "-o", tmp_path / "out", *more)
    assert files_in(tmp_path) == ["a.nrrd"]


def test_a_sheared_scan_is_segmented_on_its_grid(tmp_path, capsys):
    scan = scan_file(tmp_path / "a.nrrd", shear=0.3)
    assert run("segment", scan, "-o", tmp_path / "o.seg.nrrd") == 0
    written = load_volume(tmp_path / "o.seg.nrrd")
    np.testing.assert_allclose(written.ijk_to_ras, load_volume(scan).ijk_to_ras, atol=1e-6)
    capsys.readouterr()
    assert run("segment", scan, "-o", tmp_path / "out") == 0
    assert "a.nii.gz was not written" in capsys.readouterr().out
    assert files_in(tmp_path / "out") == ["a.medllmseg.json", "a.seg.nrrd", "volumes.csv"]
    assert run("segment", scan, "-o", tmp_path / "out") == 0
    assert "1 skipped" in capsys.readouterr().out


@pytest.mark.parametrize("failing", ("second label file", "record"))
def test_a_failed_write_leaves_nothing_and_blocks_nothing(failing, tmp_path, capsys, monkeypatch):
    scan = scan_file(tmp_path / "a.nrrd")
    real = batch.save_segmentation, batch.write_record

    def fail(result, path):
        if path.name.endswith(".nii.gz"):
            raise batch.UserError("The disk is full; free some space.")
        return real[0](result, path)

    def fail_record(path, record):
        raise batch.UserError("The disk is full; free some space.")

    with monkeypatch.context() as patch:
        if failing == "record":
            patch.setattr(batch, "write_record", fail_record)
        else:
            patch.setattr(batch, "save_segmentation", fail)
        assert "disk is full" in sentence(capsys, "segment", scan, "-o", tmp_path / "out")
    assert files_in(tmp_path / "out") == []
    assert run("segment", scan, "-o", tmp_path / "out") == 0


def test_a_killed_run_does_not_block_the_next(tmp_path, capsys, monkeypatch):
    scan = scan_file(tmp_path / "a.nrrd")

    def killed(result, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(batch, "save_segmentation", killed)
        patch.setattr("MedLLMSegLib.segmentation.batch.records.Path.unlink", lambda *a, **b: None)
        assert run("segment", scan, "-o", tmp_path / "out") == 130
    assert (tmp_path / "out/a.seg.nrrd").read_bytes() == b"half"
    assert json.loads((tmp_path / "out/a.medllmseg.json").read_text())["unfinished"]
    assert run("segment", scan, "-o", tmp_path / "out") == 0
    assert "1 segmented" in capsys.readouterr().out
    assert load_volume(tmp_path / "out/a.seg.nrrd").array.max() == 1


def test_a_header_without_its_data_file_is_one_line(tmp_path, capfd):
    (tmp_path / "a.mhd").write_text(
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 22 24 20\nElementSpacing = 1 1"
        " 1\nElementType = MET_FLOAT\nElementDataFile = data.raw\n"
    )
    assert run("segment", tmp_path / "a.mhd", "-o", tmp_path / "o.nii.gz") == 2
    error = capfd.readouterr().err
    assert "data.raw" in error
    assert len(error.strip().splitlines()) == 1


def test_results_lie_on_the_scan_with_its_codes(tmp_path):
    affine = np.diag([-1.0, 1, 1, 1])
    image = nibabel.Nifti1Image(NOISE.T, affine)
    image.set_sform(affine, 4)
    image.set_qform(affine, 4)
    nibabel.save(image, tmp_path / "a.nii.gz")
    assert run("segment", tmp_path / "a.nii.gz", "-o", tmp_path / "out") == 0
    header = nibabel.load(tmp_path / "out/a.nii.gz").header
    assert (header["qform_code"], header["sform_code"]) == (4, 4)
    np.testing.assert_allclose(header.get_qform(), affine, atol=1e-6)
    np.testing.assert_allclose(header.get_sform(), affine, atol=1e-6)
    seg = sitk.ReadImage(str(tmp_path / "out/a.seg.nrrd"))
    np.testing.assert_allclose(seg.GetDirection(), np.diag([1, -1, 1]).ravel(), atol=1e-6)
