"""The tables of docs/quality.md are those of the bundles, and a page keeps what was written by
hand.
"""

from pathlib import Path

import pytest

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.studies.quality.page import (
    BEGIN,
    END,
    draw_curves,
    measured_part,
    stored_figures,
    with_part,
)
from MedLLMSegLib.studies.quality.pictures import flagged_picture
from Testing.helpers.shapes import organ, result

PAGE = Path(__file__).resolve().parents[3] / "docs/quality.md"


def test_the_page_holds_what_the_bundles_hold():
    """After a new fit: python -m MedLLMSegLib.studies.quality.page (docs/quality.md)."""
    page = PAGE.read_text(encoding="utf-8")
    assert with_part(page, measured_part(stored_figures())) == page


def test_the_curves_are_drawn_from_the_same(tmp_path):
    assert draw_curves(stored_figures(), tmp_path / "roc.png").stat().st_size > 5000


def test_what_stands_around_the_tables_stays():
    page = f"above\n{BEGIN}\nold\n{END}\nbelow\n"
    assert with_part(page, "new") == f"above\n{BEGIN}\n\nnew\n\n{END}\nbelow\n"
    with pytest.raises(UserError, match="measured: begin"):
        with_part("no marks", "new")


def test_what_is_said_of_a_flagged_scan_stands_on_its_picture():
    says = "red (do not rely on it): what was found is about half as large"
    labels = organ(9.0)
    scan = labels.with_array(labels.array * 50.0)
    figure = flagged_picture([("half", scan, result(labels), says), ("none", scan, None, "no")])
    texts = [[" ".join(text.get_text().split()) for text in axes.texts] for axes in figure.axes]
    assert {"half", says} <= set(texts[0])
    assert {"none", "no"} <= set(texts[1])
    assert len(figure.axes[0].lines) + len(figure.axes[0].collections) > len(
        figure.axes[1].lines
    ) + len(figure.axes[1].collections)
