"""A heart's function from curves whose answer is known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.metrics.heart_function import (
    Person,
    figures,
    full_and_empty,
    heart_function,
)


def beat(images=20, full=150.0, empty=60.0):
    """A curve that is fullest in image 0 and emptiest at two fifths of the beat."""
    time = np.arange(images) / images
    way = np.where(time < 0.4, time / 0.4, (1 - time) / 0.6)
    return full - (full - empty) * np.sin(way * np.pi / 2) ** 2


def curves(left=None, right=None, wall=100.0):
    left = beat() if left is None else np.asarray(left, float)
    right = left * 1.1 if right is None else np.asarray(right, float)
    return {
        "left_ventricle": left,
        "right_ventricle": right,
        "myocardium": np.full(len(left), wall),
    }


def test_the_figures_of_a_beat():
    found = heart_function(curves(), Person(180, 80, 60))
    assert (found.end_diastole, found.end_systole) == (0, 8)
    by_name = {row.name: row for row in figures(found)}
    assert by_name["LV end-diastolic volume"].value == pytest.approx(150)
    assert by_name["LV stroke volume"].value == pytest.approx(90)
    assert by_name["LV ejection fraction"].value == pytest.approx(60)
    assert by_name["RV end-systolic volume"].value == pytest.approx(66)
    assert by_name["LV myocardial mass"].value == pytest.approx(105)  # 1.05 g/mL
    assert by_name["Cardiac output"].value == pytest.approx(5.4)
    assert by_name["LV end-diastolic volume"].indexed == pytest.approx(75)  # 2 m2 by Mosteller
    assert by_name["LV ejection fraction"].indexed is None
    assert found.notes == ()


def test_without_height_and_weight_nothing_is_indexed():
    rows = figures(heart_function(curves()))
    assert all(row.indexed is None for row in rows)
    assert "Cardiac output" not in {row.name for row in rows}


@given(shift=st.integers(0, 19), scale=st.floats(0.1, 10))
def test_it_does_not_matter_where_in_the_beat_the_series_begins(shift, scale):
    found = heart_function(curves(np.roll(beat(), shift) * scale))
    assert found.end_diastole == shift
    assert found.end_systole == (shift + 8) % 20
    assert found.left.ejection_percent == pytest.approx(60)


@pytest.mark.parametrize(("odd", "value"), [(3, 400.0), (12, 1.0), (5, 20.0)])
def test_one_odd_outline_decides_nothing(odd, value):
    curve = beat()
    curve[odd] = value
    full, empty = full_and_empty(curve)
    assert abs(curve[full] - 150) < 4
    assert abs(curve[empty] - 60) < 4
    assert odd not in (full, empty)
    (note,) = heart_function(curves(curve)).notes
    assert f" {odd + 1}" in note.split("in image")[1]


SHARP = (150, 146, 128, 104, 80, 64, 60, 72, 100, 122, 132, 140)


def noisy_beat(images, seed, plateau_ms=60, beat_ms=900):
    """EDV 150, ESV 60 held for a while, 2 % noise; the series begins anywhere in the beat."""
    rng = np.random.default_rng(seed)
    time = (np.arange(images) + rng.random()) / images * beat_ms
    falls, rises = 0.35 * beat_ms, 0.35 * beat_ms + plateau_ms
    way = np.where(time < falls, time / falls, (beat_ms - time) / (beat_ms - rises))
    true = 150 - 90 * np.sin(np.minimum(way, 1) * np.pi / 2) ** 2
    return np.roll(true, rng.integers(images)) * rng.normal(1, 0.02, images)


@pytest.mark.parametrize("images", [12, 15, 20])
def test_a_noisy_beat_keeps_its_end_systole(images):
    for seed in range(200):
        curve = noisy_beat(images, seed)
        assert full_and_empty(curve) == (curve.argmax(), curve.argmin()), seed


@pytest.mark.parametrize("shift", range(12))
@pytest.mark.parametrize("images", [12, 15])
def test_a_sharp_end_systole_is_kept(images, shift):
    places = np.linspace(0, 11, images)
    places[abs(places - 6).argmin()] = 6
    curve = np.roll(np.interp(places, range(12), SHARP), shift)
    full, empty = full_and_empty(curve)
    assert (curve[full], curve[empty]) == (150, 60)


@pytest.mark.parametrize("images", [12, 15])
@pytest.mark.parametrize(("odd", "value"), [(3, 400.0), (9, 1.0), (0, 20.0)])
def test_an_odd_outline_of_a_short_series_decides_nothing(images, odd, value):
    curve = beat(images)
    curve[odd] = value
    assert odd not in full_and_empty(curve)


def test_images_without_a_left_ventricle_do_not_count():
    curve = beat()
    curve[[8, 9]] = 0
    found = heart_function(curves(curve))
    assert found.left.esv_ml > 55
    assert "2 of 20 images" in found.notes[0]


def test_two_images_are_full_and_empty():
    found = heart_function(curves([60.0, 150.0]))
    assert (found.end_diastole, found.end_systole) == (1, 0)
    assert found.notes == ()


@pytest.mark.parametrize("images", [9, 15])
@pytest.mark.parametrize("ends", [(150, 60), (60, 150)])
def test_a_series_that_begins_or_ends_in_systole_says_so(images, ends):
    (note,) = heart_function(curves(np.linspace(*ends, images))).notes
    assert "whole beat" in note
    assert ("last" if ends[1] == 60 else "first") in note


def test_the_end_of_the_series_is_that_of_the_images_that_show_the_ventricle():
    curve = np.append(np.linspace(150, 60, 15), (0, 0))
    notes = heart_function(curves(curve)).notes
    assert any("smallest in the last image that shows it" in note for note in notes)


def test_an_odd_smallest_outline_at_the_end_does_not_hide_the_warning():
    curve = np.linspace(150, 110, 15)
    curve[-1] = 60  # thrown away, and still the smallest that was outlined
    found = heart_function(curves(curve))
    assert found.end_systole != 14
    assert any("whole beat" in note for note in found.notes)


def test_a_wall_that_was_not_found_at_end_diastole_has_no_mass():
    volumes = curves()
    volumes["myocardium"][0] = 0
    found = heart_function(volumes, Person(180, 80))
    row = next(row for row in figures(found) if row.name == "LV myocardial mass")
    assert (found.mass_g, row.value, row.indexed) == (None, None, None)
    assert any("no mass" in note for note in found.notes)


def test_a_right_ventricle_that_was_not_found_has_no_figures():
    found = heart_function(curves(right=np.zeros(20)))
    by_name = {row.name: row.value for row in figures(found)}
    assert by_name["RV ejection fraction"] is None
    assert by_name["RV end-diastolic volume"] is None
    assert "right ventricle" in found.notes[0]


@pytest.mark.parametrize(
    "volumes",
    [
        {},
        {"left_ventricle": [1.0, 2.0]},
        curves([0.0, 0.0, 5.0]),
        {**curves(), "myocardium": [1.0]},
    ],
)
def test_too_little_is_refused(volumes):
    with pytest.raises(UserError, match="heart's"):
        heart_function(volumes)


@pytest.mark.parametrize(
    "person",
    [
        {"height_cm": 1.8, "weight_kg": 80},
        {"height_cm": 180},
        {"weight_kg": 80},
        {"rate_bpm": math.nan},
        {"height_cm": "178", "weight_kg": 80},
        {"height_cm": 178, "weight_kg": [80]},
        {"rate_bpm": True},
        {"rate_bpm": 60 + 1j},
    ],
)
def test_nobody_is_like_that(person):
    with pytest.raises(UserError):
        Person(**person)
