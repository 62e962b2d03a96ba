"""Windows, look-up tables and percentiles: from grey values to 0 (black) to 1 (white)."""

import numpy as np
import pytest

from MedLLMSegLib.core.windowing import EXACT, SIGMOID, Lut, Window, percentile_window


def test_dicoms_linear_window_reaches_both_ends_within_its_width():
    window = Window(center=100, width=51)  # DICOM PS3.3 C.11.2.1.2: from 74.5 to 124.5
    assert window(np.array([0, 74.5, 99.5, 124.5, 900])) == pytest.approx([0, 0, 0.5, 1, 1])


def test_the_exact_window_is_half_way_at_its_center():
    window = Window(100, 50, EXACT)
    assert window(np.array([75, 87.5, 100, 125])) == pytest.approx([0, 0.25, 0.5, 1])


def test_a_linear_window_of_width_1_is_a_step():
    assert Window(10, 1)(np.array([9, 11])).tolist() == [0, 1]


def test_the_sigmoid_never_reaches_its_ends():
    values = Window(100, 50, SIGMOID)(np.array([50, 100, 150]))
    assert values == pytest.approx([1 / (1 + np.exp(4)), 0.5, 1 / (1 + np.exp(-4))])


def test_a_window_keeps_the_shape_and_gives_float32():
    shown = Window(1, 2)(np.zeros((2, 3), np.int16))
    assert shown.shape == (2, 3)
    assert shown.dtype == np.float32


def test_a_table_repeats_its_ends():
    lut = Lut(first=10, values=np.array([0, 100, 255]), bits=8)
    assert lut.entries([-5, 10, 11, 12, 99]).tolist() == [0, 0, 100, 255, 255]
    assert lut(np.array([10, 12])).tolist() == [0, 1]


def test_percentiles_leave_out_the_extremes():
    values = np.concatenate([np.arange(1000), [1e6]])
    window = percentile_window(values)
    assert window.center + window.width / 2 < 1000


def test_equal_percentiles_give_the_whole_range():
    values = np.zeros(10000)
    values[0] = 8
    window = percentile_window(values)
    assert (window.center, window.width) == (4, 8)


def test_texts_name_what_was_used():
    assert str(Window(40, 400)) == "center 40, width 400"
    assert str(Window(40, 400, name="LUNG")) == "LUNG, center 40, width 400"
    assert str(Lut(0, np.arange(3), 8, "BONE")) == "BONE, 3 entries"
