"""Small helpers for Qt widgets."""

from __future__ import annotations


def fill_box(box, texts, row: int) -> None:
    """Fill a drop-down list and select a row (-1: none), without emitting signals."""
    box.blockSignals(True)
    box.clear()
    for text in texts:
        box.addItem(text)
    box.setCurrentIndex(row)
    box.blockSignals(False)


def value_of(attribute):
    """The value of a Qt property, which PythonQt makes a method in some classes."""
    return attribute() if callable(attribute) else attribute


def fit_height(table, least: int, most: int) -> None:
    """Make a table as high as its rows, but for at least ``least`` and at most ``most`` rows."""
    table.resizeRowsToContents()
    count, default_height = table.rowCount, table.verticalHeader().defaultSectionSize
    heights = [table.rowHeight(n) for n in range(count)]
    heights += [default_height] * max(0, least - count)
    header = value_of(table.horizontalHeader().sizeHint)
    table.setFixedHeight(header.height() + sum(heights[:most]) + 2 * table.frameWidth)
