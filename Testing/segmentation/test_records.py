"""The records of a batch: a finished scan is one of the same scan, measured model, precision and
options; records that do not name the measured model are of no run.
"""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from MedLLMSegLib import UserError
from MedLLMSegLib.segmentation.batch.outputs import SegmentOptions, paths_in_folder
from MedLLMSegLib.segmentation.batch.records import check_outputs, find_finished


def model(sha256="ab" * 32, precision="fp32", quality=None, domain=None, trained_range=None):
    """precision: the settled one; None where it is still to be measured. quality: what was fitted
    of the model. domain: its reference. trained_range: of its training.
    """
    settled = {"network": precision}
    return SimpleNamespace(
        sha256=sha256,
        engine="torch",
        settled_precisions=lambda: settled,
        quality=quality,
        domain=domain,
        trained_range=trained_range,
    )


MODEL = model()
OPTIONS = SegmentOptions(side="left")


def state(path):
    return [path.stat().st_size, path.stat().st_mtime_ns]


@pytest.fixture
def scan(tmp_path):
    path = tmp_path / "head.nii.gz"
    path.write_bytes(b"a scan")
    return path


@pytest.fixture
def paths(scan, tmp_path):
    """A finished result with its record."""
    folder = tmp_path / "out"
    folder.mkdir()
    paths = paths_in_folder("head", folder, OPTIONS)
    for path in paths.files:
        path.write_bytes(b"labels")
    record = {
        "scan": [str(scan.resolve()), *state(scan)],
        "measured_model": MODEL.sha256,
        "precision": "fp32",
        "settled_precisions": {"network": "fp32"},
        "side": "left",
        "augment": 0,
        "model": "hippocampus-t1",
        "licence": "Apache-2.0",
        "seconds": 3.21,
        "structures": [
            {
                "label": 1,
                "key": "left_anterior",
                "name": "Left hippocampus (anterior)",
                "volume_ml": 1.5,
                "confidence": 0.9,
            }
        ],
        "notes": [],
        "files": [str(path) for path in paths.files],
        "command": "medllmseg segment head.nii.gz",
        "version": "0.5.0.dev",
        "written": {str(path.resolve()): state(path) for path in paths.files},
    }
    (folder / "head.medllmseg.json").write_text(json.dumps(record, indent=1) + "\n")
    return paths


def changed(paths, changes, without=()):
    """Rewrite the record with other fields, and without some."""
    record = json.loads(paths.record.read_text()) | changes
    kept = {name: value for name, value in record.items() if name not in without}
    paths.record.write_text(json.dumps(kept))


def test_the_record_of_the_same_run_is_a_finished_scan(scan, paths):
    assert find_finished(scan, paths, MODEL, OPTIONS)["version"] == "0.5.0.dev"


def test_a_record_that_names_the_weights_alone_is_done_anew(scan, paths):
    """As up to 0.4: its model's settings, temperature or cleaning may have been others."""
    changed(paths, {"model_sha256": MODEL.sha256}, without=["measured_model"])
    assert find_finished(scan, paths, MODEL, OPTIONS) is None
    check_outputs(scan, paths, OPTIONS)  # its files may be written anew


@pytest.mark.parametrize("change", [{"side": "right"}, {"augment": 1}, {"frames": True}])
def test_other_options_are_another_run(scan, paths, change):
    assert find_finished(scan, paths, MODEL, replace(OPTIONS, **change)) is None


@pytest.mark.parametrize(
    "name, value, recorded",
    (
        ("frames", True, {"frames": True}),
        ("structures", ("one",), {"structures_asked_for": ["one"]}),
        ("dicom_series", "2", {"dicom_series": "2"}),
        ("dicom_frames", "1-8", {"dicom_frames": "1-8"}),
        ("assume_orientation", "RAS", {"assume_orientation": "RAS"}),
    ),
)
def test_what_was_made_with_an_option_is_not_what_is_made_without_it(
    scan, paths, name, value, recorded
):
    """A series chosen by number is not the one that is read without a choice."""
    record = json.loads(paths.record.read_text())
    paths.record.write_text(json.dumps({**record, **recorded}))
    assert find_finished(scan, paths, MODEL, OPTIONS) is None
    assert find_finished(scan, paths, MODEL, replace(OPTIONS, **{name: value})) is not None


def test_another_model_scan_or_missing_file_is_another_run(scan, paths):
    assert find_finished(scan, paths, model("cd" * 32), OPTIONS) is None
    paths.labels[0].unlink()
    assert find_finished(scan, paths, MODEL, OPTIONS) is None
    paths.labels[0].write_bytes(b"labels")
    assert find_finished(scan, paths, MODEL, OPTIONS) is not None
    scan.write_bytes(b"another export")
    assert find_finished(scan, paths, MODEL, OPTIONS) is None


def test_another_precision_is_another_run(scan, paths):
    assert find_finished(scan, paths, model(precision="bf16"), OPTIONS) is None
    changed(paths, {"settled_precisions": {"network": "bf16"}})
    assert find_finished(scan, paths, model(precision="bf16"), OPTIONS) is not None
    assert find_finished(scan, paths, model(precision="fp32"), OPTIONS) is None


def test_a_precision_that_is_still_to_be_measured_may_become_another(scan, paths):
    """A scan in which too little was found to measure it stays finished until one decides."""
    undecided = model(precision=None)
    assert find_finished(scan, paths, undecided, OPTIONS) is None
    changed(paths, {"settled_precisions": {"network": None}})
    assert find_finished(scan, paths, undecided, OPTIONS) is not None
    assert find_finished(scan, paths, model(precision="fp32"), OPTIONS) is None


def test_files_that_somebody_changed_or_made_are_spared(scan, paths, tmp_path):
    paths.labels[1].write_bytes(b"corrected by hand")
    with pytest.raises(UserError, match="was changed since it was made"):
        check_outputs(scan, paths, OPTIONS)
    other = tmp_path / "other.nii.gz"
    other.write_bytes(b"another scan")
    with pytest.raises(UserError, match="was not made from"):
        check_outputs(other, paths, OPTIONS)
    check_outputs(other, paths, replace(OPTIONS, overwrite=True))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"scan": [], "structures": [], "written": {}}'])
def test_a_damaged_record_is_no_record(scan, paths, text):
    paths.record.write_text(text)
    assert find_finished(scan, paths, MODEL, OPTIONS) is None


def test_another_fit_of_the_quality_is_another_run(scan, paths):
    """Its lights would be others."""
    assert find_finished(scan, paths, MODEL, OPTIONS)
    fitted = model(quality=SimpleNamespace(digest="0123456789abcdef"))
    assert find_finished(scan, paths, fitted, OPTIONS) is None
    changed(paths, {"quality_fit": "0123456789abcdef"})
    assert find_finished(scan, paths, fitted, OPTIONS)
    assert find_finished(scan, paths, MODEL, OPTIONS) is None


@pytest.mark.parametrize("judge", ("domain", "trained_range"))
def test_another_domain_or_range_of_the_training_is_another_run(scan, paths, judge):
    """Its notes, and what is green, would be others."""
    known = model(**{judge: SimpleNamespace(digest="0123456789abcdef")})
    assert find_finished(scan, paths, known, OPTIONS) is None
    changed(paths, {judge: "0123456789abcdef"})
    assert find_finished(scan, paths, known, OPTIONS)
    other = model(**{judge: SimpleNamespace(digest="fedcba9876543210")})
    assert find_finished(scan, paths, other, OPTIONS) is None
    assert find_finished(scan, paths, MODEL, OPTIONS) is None
