"""Intervals of a heart's figures: whose they are, and what they say."""

import json
from dataclasses import replace

import pytest

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.metrics.heart_function import figures, heart_function
from MedLLMSegLib.metrics.heart_intervals import FIELD, HeartIntervals, intervals_of
from MedLLMSegLib.registry.catalogue import METADATA, measured_model, read_metadata
from MedLLMSegLib.reporting.sentences import heart_sentences
from Testing.helpers.heart_bundle import heart_bundle

EDV, STROKE, EJECTION = (
    f"LV {name}" for name in ("end-diastolic volume", "stroke volume", "ejection fraction")
)
KNOWN = HeartIntervals({EDV: 1.25, STROKE: 1.5}, {EJECTION: 7.5}, 0.9, 20, "patients of one place")
CURVES = {"left_ventricle": (100, 43), "myocardium": (90, 90), "right_ventricle": (120, 60)}


def test_volumes_have_a_factor_and_fractions_a_margin():
    assert KNOWN.of(EDV, 100.0) == pytest.approx((80, 125))
    assert KNOWN.of(EJECTION, 57.0) == (49.5, 64.5)
    assert KNOWN.of(EJECTION, 3.0) == (0.0, 10.5)  # no fraction lies below 0
    assert KNOWN.of(EJECTION, 99.0) == (91.5, 100.0)
    assert KNOWN.of(STROKE, -5.0) is None
    assert KNOWN.of("Cardiac output", 5.0) is None
    assert KNOWN.of(EDV, None) is None
    assert HeartIntervals.from_dict(json.loads(json.dumps(KNOWN.to_dict()))) == KNOWN


@pytest.mark.parametrize(
    "wrong",
    [
        {"factors": {EDV: 0.9}},
        {"factors": {EDV: "many"}},
        {"factors": [EDV]},
        {"margins": {EJECTION: -1}},
        {"margins": {EJECTION: float("inf")}},
        {"level": 1.0},
        {"people": 0},
    ],
)
def test_what_is_no_interval_is_refused(tmp_path, wrong):
    folder = heart_bundle(tmp_path)
    metadata = read_metadata(folder)
    owner = measured_model(metadata).sha256
    metadata[FIELD] = {**KNOWN.to_dict(), **wrong, "measured_model": owner}
    (folder / METADATA).write_text(json.dumps(metadata))
    with pytest.raises(UserError, match="intervals in the model bundle"):
        intervals_of(folder)


def test_they_belong_to_one_measured_model(tmp_path):
    folder = heart_bundle(tmp_path)
    assert intervals_of(folder) is None
    metadata = read_metadata(folder)
    owner = measured_model(metadata).sha256
    metadata[FIELD] = {**KNOWN.to_dict(), "measured_model": owner}
    (folder / METADATA).write_text(json.dumps(metadata))
    assert intervals_of(folder) == KNOWN
    assert measured_model(metadata).sha256 == owner  # it does not change what it is bound to
    metadata["calibration"] = {"temperature": 1.6}
    (folder / METADATA).write_text(json.dumps(metadata))
    assert intervals_of(folder) is None


def test_figures_and_sentences_say_them():
    function = heart_function(CURVES)
    plain = heart_sentences(function)
    assert not any("brackets" in sentence for sentence in plain)
    known = replace(function, intervals=KNOWN)
    rows = {row.name: row for row in figures(known)}
    assert rows[EJECTION].interval == (49.5, 64.5)
    assert rows["RV ejection fraction"].interval is None
    said = " ".join(heart_sentences(known))
    assert "holds 100 mL (80 to 125) at end-diastole" in said
    assert "ejection fraction is 57 % (49.5 to 64.5)" in said
    assert "its ejection fraction is 50 %, and" in said  # the right one, of which none is known
    assert "intervals of 90 % from the errors on 20 people, patients of one place" in said
    assert "for other scanners and hospitals nothing is promised" in said
