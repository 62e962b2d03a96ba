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
