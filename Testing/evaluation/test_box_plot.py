"""The box plot is a picture that shows every head, however odd the values."""

import math

import numpy as np
import pytest
from PIL import Image

from MedLLMSegLib.evaluation.box_plot import Panel, plot_boxes, plot_scores
from MedLLMSegLib.evaluation.scores import Score, summarize_scores
from MedLLMSegLib.metrics.overlap import METRICS


def ink(path):
    """Size of a picture, and how many of its pixels are not white."""
    pixels = np.asarray(Image.open(path).convert("L"))
    return pixels.shape, int((pixels < 250).sum())


@pytest.mark.parametrize(
    "columns",
    [
        {"one": [0.9]},
        {"none": [math.nan, math.nan], "some": [0.8, math.nan, 0.9]},
        {"nothing": []},
        {f"structure {n} with a long name": np.linspace(0.5, 0.9, 30) for n in range(9)},
        {"equal": [1.0] * 5, "zero": [0.0] * 5},
    ],
)
def test_odd_values(tmp_path, columns):
    panels = [Panel("Dice", METRICS["dice"], columns), Panel("speed", None, columns)]
    path = plot_boxes(panels, "A title", tmp_path / "plot.png")
    (height, width), dark = ink(path)
    assert height > 400
    assert width >= 540
    assert dark > 5000


def test_values_far_beyond_do_not_flatten_the_rest(tmp_path):
    """The boxes take up about as many rows with one head at the image's diagonal as without."""
    values = np.linspace(1, 3, 20)

    def box_rows(columns):
        panel = Panel("HD95", METRICS["hd95_mm"], columns)
        picture = Image.open(plot_boxes([panel], "", tmp_path / "p.png"))
        pixels = np.asarray(picture.convert("RGB"))
        return int((pixels == (220, 232, 244)).all(-1).any(1).sum())

    plain, far = box_rows({"a": values}), box_rows({"a": [*values, 180.0]})
    assert far > plain / 5  # by scale alone it would be a sixtieth


def test_one_dot_is_one_head(tmp_path):
    """Two sides with opposite values have one mean: the plot of 2 cases of one head is that of
    the mean alone.
    """

    def scores(values, group):
        return [
            Score(f"c{n}", group or f"g{n}", {f"{m}_a": v for m in METRICS})
            for n, v in enumerate(values)
        ]

    def plotted(name, found):
        summary = summarize_scores(found, "m", tmp_path, 1.0)
        summary |= {"cases": 1, "groups": 1}  # the same title
        return plot_scores(found, summary, tmp_path / name).read_bytes()

    together = plotted("a.png", scores([0.2, 0.8], "head"))
    assert together == plotted("b.png", scores([0.5], "head"))
    assert together != plotted("c.png", scores([0.2, 0.8], None))
