"""`medllmseg quality`: who is fitted on whom, what is measured once, and whose the fit is."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from MedLLMSegLib.anatomy.structures import named_structures
from MedLLMSegLib.cli import main as cli
from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.data import read_cases
from MedLLMSegLib.data.case_digest import case_marks
from MedLLMSegLib.io.volume_files import save_volume
from MedLLMSegLib.registry.bundle import read_bundle
from MedLLMSegLib.registry.seen_cases import Marks, SeenCases
from MedLLMSegLib.segmentation.loaded_segmenter import load_model
from MedLLMSegLib.segmentation.quality.assess import with_quality
from MedLLMSegLib.studies.quality import measure as measuring
from MedLLMSegLib.studies.quality import run, subjects
from MedLLMSegLib.studies.quality.corruptions import FITTED_KINDS, Corruption
from MedLLMSegLib.studies.quality.measure import Row, Subject, measure
from MedLLMSegLib.studies.quality.subjects import subjects_of
from MedLLMSegLib.training.segmenter.bundle.bundle_evidence import Evidence
from MedLLMSegLib.training.segmenter.bundle.export_segmenter import upgrade_bundle
from Testing.helpers.shapes import STRUCTURES, fit, norms, organ, result
from Testing.helpers.tiny_segmenter import tiny_bundle
from Testing.studies.quality.test_fit import points

CHOSEN = {"trained_on": 7, "chosen_on": 3, "step": 10, "val_dice": 0.5}
ABOUT = {"accept_licence": False, "version": "1", "llm": None, "parameters": 1, "chosen": CHOSEN}


@pytest.fixture
def bundle(tmp_path):
    return tiny_bundle(tmp_path / "tiny", **ABOUT)


def labelled_folder(folder, radii):
    for number, radius in enumerate(radii):
        labels = organ(radius)
        image = labels.with_array((labels.array * 50.0 + number).astype(np.float32))
        save_volume(image, folder / "imagesTr" / f"case_{number}.nii.gz")
        save_volume(labels, folder / "labelsTr" / f"case_{number}.nii.gz")
    names = {"0": "background", "1": "core", "2": "shell"}
    (folder / "dataset.json").write_text(json.dumps({"labels": names}))
    return folder


def test_cases_are_sorted_by_what_the_bundle_says_it_has_seen(tmp_path):
    data = labelled_folder(tmp_path / "data", [8, 9, 10, 8.5, 9.5])
    marks = [case_marks(case) for case in read_cases(data).cases]
    seen = SeenCases(Marks.of_all(marks[:3]), marks[3], known=True)
    (tmp_path / "model/configs").mkdir(parents=True)
    about = {"id": "m", "weights_sha256": "0", "seen": seen.to_dict()}
    (tmp_path / "model/configs/metadata.json").write_text(json.dumps(about))
    entry = SimpleNamespace(id="m", folder=tmp_path / "model")
    model = SimpleNamespace(
        entry=entry, anatomy=None, structures=STRUCTURES, structures_for=lambda lateral: STRUCTURES
    )
    found = subjects_of(model, data, tmp_path)
    assert [s.name for s in found.fit] == ["case_3"]
    assert [s.name for s in found.test] == ["case_4"]
    assert found.norms.cases == 3
    assert set(found.norms.structures) == {"core", "shell"}
    assert len({s.digest for s in (*found.fit, *found.test)} - {""}) == 2
    scan, truth = found.fit[0].read()
    assert scan.array.shape == truth.shape
    (tmp_path / "model/configs/metadata.json").write_text(json.dumps({**about, "seen": None}))
    with pytest.raises(UserError, match="0 cases that"):
        subjects_of(model, data, tmp_path)


def test_a_scan_is_measured_once_and_a_refusal_is_kept(tmp_path, monkeypatch):
    calls = []

    def segment(scan, model, side=None):
        calls.append(scan.name)
        if scan.array.max() > 100:
            raise UserError("No organ was found.")
        return result(organ(9.0))

    monkeypatch.setattr(measuring, "segment", segment)
    model = SimpleNamespace(sha256="ab" * 32, anatomy=None, precision="fp32")
    truth = organ(9.5)

    def subject(name, grey):
        image = Volume(truth.array * grey, truth.ijk_to_ras, name)
        return Subject(name, f"person of {name}", lambda: (image, truth.array))

    wanted = [
        (subject("a", 1.0), [Corruption(), Corruption("noise", 2)]),
        (subject("b", 90.0), [Corruption()]),
    ]
    rows = measure(model, wanted, tmp_path)
    assert len(calls) == 3
    assert measure(model, wanted, tmp_path) == rows
    assert len(calls) == 3
    assert rows[2].refused == "No organ was found."
    first = rows[0].structures[0]
    assert 0.8 < first.dice < 1
    assert first.true_ml == pytest.approx(float((truth.array == 1).sum()) / 1000)
    assert Row.from_dict(json.loads(json.dumps(rows[0].to_dict()))) == rows[0]


def test_a_row_belongs_to_one_name_one_data_and_one_precision(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(
        measuring, "segment", lambda scan, model, side=None: calls.append(1) or result(organ(9.0))
    )
    labels = organ(9.5)

    def measured(name="Müller 1", digest="a", precision="fp32"):
        model = SimpleNamespace(sha256="ab" * 32, anatomy=None, precision=precision)
        subject = Subject(name, name, lambda: (labels, labels.array), digest)
        (row,) = measure(model, [(subject, [Corruption()])], tmp_path)
        return row.subject

    assert measured() == measured() == "Müller 1"
    assert len(calls) == 1
    assert measured(name="Möller 1") == "Möller 1"
    measured(digest="b")
    measured(precision="bf16")
    assert len(calls) == 4


def test_acdc_is_converted_once_for_each_data(tmp_path, monkeypatch):
    made = []

    def convert(data, output):
        made.append(output)
        output.mkdir()
        (output / "dataset.json").write_text("{}")
        return output

    monkeypatch.setattr(subjects, "convert_acdc", convert)
    monkeypatch.setattr(subjects, "_labelled_subjects", lambda _model, data, _report: data)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "patient001_frame01.h5").write_text("same size")
    first = [subjects_of(None, tmp_path / "one", tmp_path) for _ in range(2)]
    assert first == made * 2
    assert subjects_of(None, tmp_path / "two", tmp_path) == made[1] != made[0]


def test_what_was_measured_lies_below_the_models_id_whatever_its_folder(bundle, monkeypatch):
    outputs = []
    monkeypatch.setattr(run, "learn_sanity", lambda *args: outputs.append(args[2]))
    monkeypatch.setattr(run, "figures_text", lambda _entry: "")
    folder = bundle.rename(bundle.parent / "bundle")
    assert cli.main(["quality", str(folder), "--data", str(folder), "--sanity"]) == 0
    assert outputs == [Path("runs/quality/tiny")]


def test_the_fit_goes_into_the_bundle_and_belongs_to_the_measured_model(
    bundle, tmp_path, monkeypatch
):
    counts = {"scans": 40, "persons": 20, "refused": 1}
    found = run._Found(norms(), points(12), points(12, first=50), 3, counts, counts)
    monkeypatch.setattr(run, "_labelled", lambda *_: found)
    before = read_bundle(bundle).measured.sha256
    entry = run.fit_and_measure(str(bundle), tmp_path, tmp_path / "out")
    assert read_bundle(bundle).measured.sha256 == before == entry["measured_model"]
    assert load_model(bundle, "cpu").quality.structures["core"].interval is not None
    card = (bundle / "docs/README.md").read_text(encoding="utf-8")
    assert "## Quality" in card
    assert "40 scans of 20 persons" in " ".join(card.split())
    assert "AUROC" in run.figures_text(entry)
    fitted = tmp_path / "c.json"
    fitted.write_text(json.dumps({"temperature": 1.2}))
    upgrade_bundle(bundle, evidence=Evidence(calibration=fitted))
    assert load_model(bundle, "cpu").quality is None
    assert "## Quality" not in (bundle / "docs/README.md").read_text(encoding="utf-8")


def test_sizes_and_places_alone_are_learnt_without_a_network(bundle, tmp_path, monkeypatch):
    found = SimpleNamespace(norms=norms())
    monkeypatch.setattr(run, "subjects_of", lambda *_: found)
    entry = run.learn_sanity(str(bundle), tmp_path, tmp_path / "out")
    assert "7 cases" in run.figures_text(entry)
    fit = load_model(bundle, "cpu").quality
    half = with_quality(result(organ(9.0, spacing=0.5)), fit)
    assert half.quality.scan.light == "red"
    assert half.expected_dice == half.quality.intervals_ml == {}
    card = " ".join((bundle / "docs/README.md").read_text(encoding="utf-8").split())
    assert "as in 7 training cases. What Dice is to be expected was not fitted" in card


def test_sizes_and_places_alone_never_replace_a_whole_fit(bundle, tmp_path, monkeypatch):
    counts = {"scans": 40, "persons": 20, "refused": 1}
    found = run._Found(norms(), points(12), points(12, first=50), 3, counts, counts)
    monkeypatch.setattr(run, "_labelled", lambda *_: found)
    monkeypatch.setattr(run, "subjects_of", lambda *_: found)
    run.learn_sanity(str(bundle), tmp_path, tmp_path / "out")
    run.learn_sanity(str(bundle), tmp_path, tmp_path / "out")  # of its own kind
    run.fit_and_measure(str(bundle), tmp_path, tmp_path / "out")
    before = (bundle / "configs/metadata.json").read_bytes()
    with pytest.raises(UserError, match="would be lost"):
        run.learn_sanity(str(bundle), tmp_path, tmp_path / "out")
    assert (bundle / "configs/metadata.json").read_bytes() == before


def test_corruptions_go_round_over_about_as_many_scans_as_were_asked_for():
    scans = tuple(Subject(str(n), str(n), lambda: None) for n in range(20))
    model = SimpleNamespace(structures=named_structures({1: "core"}), anatomy=None)
    wanted = run.wanted(scans, FITTED_KINDS, model)
    assert sum(len(corruptions) for _, corruptions in wanted) == run.WHOLE_SCANS
    assert all(not corruptions[0].kind for _, corruptions in wanted)


def test_a_segmentation_without_certainty_has_lights_and_no_expected_dice():
    """Such as one of a program's own, judged by its sizes alone."""
    found = with_quality(Segmentation(organ(9.0), STRUCTURES, {1: 0.9, 2: 0.9}), fit())
    assert found.expected_dice == {}
    assert found.quality.scan.light == "green"
