"""A BIDS dataset in, a dataset of derivatives out, which the standard's own validator accepts."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MedLLMSegLib.cli.main import main
from MedLLMSegLib.io.volume_files import save_volume
from Testing.helpers.noise_volumes import noise_volume
from Testing.helpers.tiny_segmenter import tiny_bundle

SCANS = (
    "sub-01/ses-a/anat/sub-01_ses-a_run-1_T1w",
    "sub-01/ses-a/anat/sub-01_ses-a_run-2_T1w",
    "sub-01/ses-b/anat/sub-01_ses-b_FLAIR",
    "sub-02/anat/sub-02_acq-fast_ce-gad_T1w",
    "sub-02/anat/sub-02_acq-fast_ce-gad_T2w",
    "sub-02/anat/sub-02_echo-2_part-mag_T2starw",
)
NO_SCANS = (
    "sub-02/anat/sub-02_echo-2_part-phase_T2starw",
    "sub-02/anat/sub-02_T1map",
    "sub-02/func/sub-02_task-rest_bold",
    "derivatives/other/sub-02/anat/sub-02_desc-preproc_T1w",
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


def write_dataset(folder):
    for number, name in enumerate((*SCANS, *NO_SCANS)):
        path = folder / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_volume(noise_volume((6, 24, 20), seed=number), path)
    description = {"Name": "Heads", "BIDSVersion": "1.10.0"}
    (folder / "dataset_description.json").write_text(json.dumps(description))
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("bids"))


def segment(dataset, bundle, output, *more):
    words = ["segment", str(dataset), "--model", str(bundle), "--device", "cpu"]
    return main([*words, "-o", str(output), *more])


@pytest.fixture(scope="module")
def derivatives(dataset, bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("derivatives") / "medllmseg"
    assert segment(dataset, bundle, folder, "--volumetry") == 0
    return folder


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_each_scan_has_a_label_map_of_its_own_and_nothing_else_has_one(derivatives):
    maps = sorted(str(p.relative_to(derivatives)) for p in derivatives.rglob("*.nii.gz"))
    assert maps == sorted(
        name.rpartition("_")[0] + f"_seg-tiny_desc-{name.rpartition('_')[2]}_dseg.nii.gz"
        for name in SCANS
    )


def test_the_look_up_table_names_every_value_of_the_label_map(derivatives):
    path = derivatives / "sub-01/ses-b/anat/sub-01_ses-b_seg-tiny_desc-FLAIR_dseg.nii.gz"
    values = set(np.unique(sitk.GetArrayFromImage(sitk.ReadImage(str(path))))) - {0}
    table = rows(Path(str(path).replace(".nii.gz", ".tsv")))
    assert values and values <= {int(row["index"]) for row in table}
    assert [row["name"] for row in table] == ["One", "Four"]
    assert all(len(row["color"]) == 7 and row["color"][0] == "#" for row in table)


def test_the_sidecar_says_from_what_and_by_what_it_was_made(derivatives):
    path = derivatives / "sub-02/anat/sub-02_acq-fast_ce-gad_seg-tiny_desc-T2w_dseg.json"
    sidecar = json.loads(path.read_text())
    assert sidecar["Sources"] == ["bids:raw:sub-02/anat/sub-02_acq-fast_ce-gad_T2w.nii.gz"]
    assert (sidecar["Manual"], sidecar["Model"]) == (False, "tiny")
    assert len(sidecar["ModelSha256"]) == 64


def test_the_volumes_have_a_table_of_participants_and_sessions(derivatives):
    table = rows(derivatives / "volumes.tsv")
    assert [row["source_file"] for row in table] == [f"{name}.nii.gz" for name in sorted(SCANS)]
    assert [row["participant_id"] for row in table] == ["sub-01"] * 3 + ["sub-02"] * 3
    assert [row["session_id"] for row in table] == ["ses-a", "ses-a", "ses-b"] + ["n/a"] * 3
    assert all(float(row["one_ml"]) >= 0 and row["message"] == "n/a" for row in table)
    texts = json.loads((derivatives / "volumes.json").read_text())
    assert texts["one_ml"] == {"Description": "Volume: one", "Units": "mL"}
    assert set(table[0]) == set(texts)


def test_the_dataset_names_its_maker_and_its_source(derivatives, dataset):
    description = json.loads((derivatives / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "MedLLMSeg"
    assert (derivatives / description["DatasetLinks"]["raw"]).resolve() == dataset.resolve()


@pytest.mark.slow
def test_the_standards_own_validator_finds_no_error(derivatives, dataset, bundle):
    validator = Path(sys.executable).with_name("bids-validator-deno")
    if not validator.exists():
        pytest.skip("bids-validator-deno is not installed (requirements-dev.txt)")
    folder = derivatives.with_name("validated")
    shutil.copytree(derivatives, folder)
    # Cubes of 1.5 mm get files of their own in the same dataset.
    assert segment(dataset, bundle, folder, "--resolution", "1.5mm", "--suffix", "T1w") == 0
    command = [str(validator), str(folder), "--format", "json"]
    answer = json.loads(subprocess.run(command, capture_output=True, check=False).stdout)
    errors = [i for i in answer["issues"]["issues"] if i["severity"] == "error"]
    assert errors == []
    assert sorted(answer["summary"]["subjects"]) == ["01", "02"]


def test_it_is_skipped_the_next_time_and_other_scans_stay_in_the_table(
    dataset, bundle, tmp_path, capsys
):
    output = tmp_path / "out"
    segment(dataset, bundle, output, "--suffix", "T1w")
    capsys.readouterr()
    assert segment(dataset, bundle, output, "--suffix", "T1w, FLAIR") == 0
    assert "1 segmented, 3 skipped, 0 failed" in capsys.readouterr().out
    segment(dataset, bundle, output, "--suffix", "T2w")
    status = {Path(r["source_file"]).name: r["status"] for r in rows(output / "volumes.tsv")}
    assert len(status) == 5 and set(status.values()) == {"done"}


def test_a_scan_that_fails_has_a_row(bundle, tmp_path):
    dataset = write_dataset(tmp_path / "bids")
    (dataset / f"{SCANS[0]}.nii.gz").write_bytes(b"")
    assert segment(dataset, bundle, tmp_path / "out", "--suffix", "T1w") == 1
    failed = rows(tmp_path / "out/volumes.tsv")[0]
    assert (failed["status"], failed["one_ml"]) == ("failed", "n/a")
    assert "is empty" in failed["message"]


def test_without_a_description_the_option_says_that_it_is_one(bundle, tmp_path):
    dataset = write_dataset(tmp_path / "bids")
    (dataset / "dataset_description.json").unlink()
    assert segment(dataset, bundle, tmp_path / "out") == 2
    assert segment(dataset, bundle, tmp_path / "out", "--bids", "--suffix", "FLAIR") == 0
    assert (tmp_path / "out/dataset_description.json").exists()


@pytest.mark.parametrize(
    "more, message",
    [
        (["--suffix", "bold"], '"bold" is not the suffix of a scan'),
        (["--suffix", "PDw"], "holds no scan .*with PDw"),
        (["--frames"], "--frames is not for a BIDS dataset"),
    ],
)
def test_what_cannot_be_is_one_sentence(dataset, bundle, tmp_path, capsys, more, message):
    assert segment(dataset, bundle, tmp_path / "out", *more) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_another_dataset_is_not_written_into(dataset, derivatives, bundle, tmp_path, capsys):
    assert segment(dataset, bundle, dataset) == 2
    assert "is another BIDS dataset; name a folder for the derivatives" in capsys.readouterr().err
    assert segment(derivatives, bundle, tmp_path / "out", "--bids") == 2
    assert "is a BIDS dataset of derivatives" in capsys.readouterr().err
    assert main(["segment", "x.nii.gz", "--suffix", "T1w", "-o", str(tmp_path / "out")]) == 2
    assert "add --bids" in capsys.readouterr().err
    assert main(["segment", str(dataset), "x.nii.gz", "--bids", "-o", str(tmp_path / "out")]) == 2
    assert "--bids takes the folder of one dataset, and 2 paths" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name, content",
    [
        ("volumes.tsv", "subject\tmine\n"),
        ("volumes.json", '{"source_file": {"Description": "mine"}}'),
        ("volumes.html", "<p>mine</p>"),
        ("dataset_description.json", '{"Name": "Mine", "GeneratedBy": [{"Name": "Other"}]}'),
    ],
)
def test_a_file_of_somebody_else_is_spared(dataset, bundle, tmp_path, capsys, name, content):
    (tmp_path / name).write_text(content)
    assert segment(dataset, bundle, tmp_path, "--suffix", "FLAIR") == 2
    assert name in capsys.readouterr().err or name == "dataset_description.json"
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == content


def test_what_somebody_wrote_into_the_dataset_stays(dataset, bundle, tmp_path):
    (tmp_path / ".bidsignore").write_text("/mine/\n*_report/")
    (tmp_path / "README").write_text("Mine.")
    assert segment(dataset, bundle, tmp_path, "--suffix", "FLAIR") == 0
    lines = (tmp_path / ".bidsignore").read_text().splitlines()
    assert lines[:2] == ["/mine/", "*_report/"] and "/volumes.tsv" in lines
    assert not (tmp_path / "README.md").exists()
    path = tmp_path / "dataset_description.json"
    description = json.loads(path.read_text())
    description |= {"Authors": ["Me"]}
    description["GeneratedBy"].append({"Name": "Other"})
    path.write_text(json.dumps(description))
    assert segment(dataset, bundle, tmp_path, "--suffix", "FLAIR") == 0
    assert json.loads(path.read_text()) == description
    assert (tmp_path / ".bidsignore").read_text().splitlines() == lines


def test_an_ignore_file_that_is_no_text_is_one_sentence(dataset, bundle, tmp_path, capsys):
    (tmp_path / ".bidsignore").write_bytes(b"\xff\xfe")
    assert segment(dataset, bundle, tmp_path, "--suffix", "FLAIR") == 2
    assert "cannot be read as text" in capsys.readouterr().err


def test_another_model_or_resolution_leaves_the_rows_of_the_first(dataset, bundle, tmp_path):
    other = tiny_bundle(tmp_path / "other", id="other")
    output = tmp_path / "out"
    assert segment(dataset, bundle, output, "--suffix", "FLAIR") == 0
    assert segment(dataset, bundle, output, "--suffix", "FLAIR", "--resolution", "2mm") == 0
    assert segment(dataset, other, output, "--suffix", "FLAIR") == 0
    assert segment(dataset, other, output, "--suffix", "FLAIR", "--overwrite") == 0
    table = [(row["model"], row["resolution_mm"]) for row in rows(output / "volumes.tsv")]
    assert sorted(table) == [("other", "n/a"), ("tiny", "2"), ("tiny", "n/a")]


def test_earlier_scans_keep_subject_and_source_where_the_dataset_is_of_links(bundle, tmp_path):
    """As datalad has it: each scan is a link to a file whose name is a hash."""
    dataset = write_dataset(tmp_path / "bids")
    for number, name in enumerate(SCANS):
        scan, kept = dataset / f"{name}.nii.gz", dataset / f".git/annex/{number}.nii.gz"
        kept.parent.mkdir(parents=True, exist_ok=True)
        scan.rename(kept)
        scan.symlink_to(kept)
    assert segment(dataset, bundle, tmp_path / "out", "--suffix", "FLAIR") == 0
    assert segment(dataset, bundle, tmp_path / "out", "--suffix", "T2w") == 0
    table = rows(tmp_path / "out/volumes.tsv")
    found = [(row["participant_id"], row["session_id"], row["source_file"]) for row in table]
    assert found == [
        ("sub-01", "ses-b", f"{SCANS[2]}.nii.gz"),
        ("sub-02", "n/a", f"{SCANS[4]}.nii.gz"),
    ]
