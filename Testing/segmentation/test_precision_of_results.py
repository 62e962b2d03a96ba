"""A scan is segmented in the precision that was asked for or decided, and every result says it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from MedLLMSegLib import UserError, load_model, save_volume, segment
from MedLLMSegLib.anatomy.structures import hippocampus_structures
from MedLLMSegLib.cli.main import main as cli
from MedLLMSegLib.reporting.scan_report import write_report
from MedLLMSegLib.worker.array_files import load_segmentation, save_segmentation
from Testing.helpers.bright_organ import BrightIsOrgan, bright_organ_model, bright_organ_scan
from Testing.helpers.grids import GRIDS, dice, ellipsoid, make_grid
from Testing.helpers.heart_bundle import heart_bundle

pytestmark = pytest.mark.usefixtures("precision_cache")


class SeesPrecision(BrightIsOrgan):
    """Remembers in which precision it is called, and answers in it."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def forward(self, image):
        rounded = torch.is_autocast_enabled("cpu")
        self.calls.append("bf16" if rounded else "fp32")
        logits = super().forward(image)
        return logits.bfloat16() if rounded else logits


@pytest.mark.parametrize("requested", ("fp32", "bf16"))
@pytest.mark.parametrize("window", (None, [16, 16, 16]))
def test_a_scan_is_segmented_in_the_precision_that_was_asked_for(requested, window):
    """Of an organ in a crop, and of a whole-scan model in windows, with one more view."""
    model = replace(bright_organ_model(), network=SeesPrecision())
    if window:
        structures = hippocampus_structures(lateral=False)
        settings = {"spacing_mm": 1.0, "window": window}
        model = replace(model, anatomy=None, settings=settings, structures=structures)
    grid = GRIDS["oblique"]
    result = segment(bright_organ_scan(grid), model, precision=requested, augment=1)
    assert set(model.network.calls) == {requested}
    assert result.precision == requested
    if not window:
        assert dice(result.labels.array > 0, ellipsoid(grid)) > 0.87


def test_a_loaded_model_s_precision_holds_where_none_is_asked_for():
    model = replace(bright_organ_model(), network=SeesPrecision()).with_precision("bf16")
    assert segment(bright_organ_scan(GRIDS["oblique"]), model).precision == "bf16"
    with pytest.raises(UserError, match='"fp16" is not a precision'):
        segment(bright_organ_scan(GRIDS["oblique"]), model, precision="fp16")


def test_the_first_scan_decides_and_the_same_scan_is_segmented_alike_again(has_bf16):
    model = replace(bright_organ_model(), network=SeesPrecision()).with_precision("auto")
    assert model.settled_precision() is None
    first, second = (segment(bright_organ_scan(GRIDS["oblique"]), model) for _ in range(2))
    assert first.precision == second.precision == model.settled_precision().name
    assert np.array_equal(first.labels.array, second.labels.array)


def test_a_model_is_loaded_to_decide_by_itself(tmp_path, has_bf16):
    bundle = heart_bundle(tmp_path)
    assert load_model(bundle, "cpu").settled_precision() is None
    assert load_model(bundle, "cpu", "bf16").settled_precision().name == "bf16"
    with pytest.raises(UserError, match='"half" is not a precision'):
        load_model(bundle, "cpu", "half")


def test_a_result_of_the_worker_says_its_precision(tmp_path):
    result = segment(bright_organ_scan(GRIDS["oblique"]), bright_organ_model(), precision="bf16")
    save_segmentation(result, tmp_path / "result")
    assert load_segmentation(tmp_path / "result").precision == "bf16"


def test_the_command_line_asks_for_a_precision_and_the_record_says_it(tmp_path, capsys):
    """What was segmented in another precision is segmented again."""
    grid = make_grid(field_mm=40)
    scan = save_volume(bright_organ_scan(grid), tmp_path / "scan.nii.gz")
    command = ["segment", str(scan), "--model", str(heart_bundle(tmp_path)), "--device", "cpu"]
    command += ["--output", str(tmp_path / "out"), "--precision"]

    def run(requested):
        assert cli([*command, requested]) == 0
        record = json.loads((tmp_path / "out" / "scan.medllmseg.json").read_text())
        assert record["precision_why"] == f"{record['precision']} was asked for."
        return "skipped" if "finished before" in capsys.readouterr().out else record["precision"]

    assert [run(each) for each in ("bf16", "bf16", "fp32", "fp32")] == [
        "bf16",
        "skipped",
        "fp32",
        "skipped",
    ]
    with pytest.raises(SystemExit):
        cli([*command, "fp16"])


def test_a_report_names_the_precision(tmp_path):
    pytest.importorskip("matplotlib")
    scan = bright_organ_scan(GRIDS["oblique"])
    result = segment(scan, bright_organ_model(), precision="bf16")
    page = write_report(scan, result, tmp_path / "report", "medllmseg segment").read_text()
    assert "model stand-in in bf16" in page
