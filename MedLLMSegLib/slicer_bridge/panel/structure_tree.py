"""The tree of a result with many structures: groups and structures with ticks that show and hide
their segments.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import qt

from MedLLMSegLib.slicer_bridge.presenter.panel_texts import MARK_COLOURS
from MedLLMSegLib.slicer_bridge.presenter.volumetry_view import (
    NOTHING,
    VolumetryGroup,
    VolumetryRow,
    VolumetryTexts,
)

from .qt_helpers import value_of

HEIGHT, SWATCH = 320, 12  # pixels
NAME_HEIGHTS = 11  # least width of the column of names, in heights of the font
# structure, mL, expected Dice, percent, asymmetry; the confidence is in the tooltip. In a narrow
# dock the percent is there alone, too: nothing else has to be scrolled to.
COLUMNS = 5
DICE, PERCENT = 2, 3


class StructureTree:
    """tree: the QTreeWidget. onTick: called with (structures' keys, whether to show them).

    Each item holds its name in `items`: the key of a structure, or a group's name after "group:".
    """

    def __init__(self, tree, onTick: Callable[[Collection[str], bool], None]):
        self.tree, self.on_tick = tree, onTick
        self.items: dict = {}  # name -> item, which PythonQt would delete without a reference
        self.members: dict[str, tuple[str, ...]] = {}  # name of a group's item -> structures' keys
        self._percent_width = 0  # pixels; 0 without any
        self._measuring = False
        header = tree.header()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(0, qt.QHeaderView.Fixed)
        header.setStretchLastSection(False)
        header.connect("geometriesChanged()", self.fit_names)  # the dock has another width
        tree.connect("itemChanged(QTreeWidgetItem*,int)", self.onItemChanged)

    def show(self, groups: Sequence[VolumetryGroup], hidden: Collection[str]) -> None:
        """Fill the tree. hidden: keys of the structures that are not shown, and so not ticked."""
        self.tree.blockSignals(True)
        self.tree.clear()
        self.items, self.members = {}, {}
        rows = [row for group in groups for row in group.rows]
        self.tree.setColumnHidden(DICE, all(row.texts[DICE] == NOTHING for row in rows))
        for group in groups:
            name, keys = f"group:{group.name}", tuple(row.key for row in group.rows)
            branch = self._item(self.tree, name, group.texts.name, group.texts)
            self.members[name] = keys
            for row in group.rows:
                leaf = self._item(branch, row.key, row.short, row.texts)
                leaf.setToolTip(0, row.tip)
                leaf.setIcon(0, _swatch(row.color))
                leaf.setCheckState(0, _tick(row.key not in hidden))
                if row.doubt:
                    _mark(leaf, row)
            branch.setCheckState(0, self._state_of(keys))
            branch.setExpanded(True)
        self.tree.setFixedHeight(HEIGHT)
        # a sentence says why there is no intracranial volume
        has_percent = any(row.texts[PERCENT] != NOTHING for row in rows)
        self._percent_width = self._width_of(PERCENT) if has_percent else 0
        self.fit_names()
        self.tree.blockSignals(False)

    def fit_names(self) -> None:
        """Give the names the width that the figures leave, and no less than they need to be told
        apart. Where that leaves no room for all figures, the percent is in the tooltips alone.
        """
        if self._measuring:
            return
        header, viewport = self.tree.header(), self.tree.viewport()
        others = [column for column in range(1, COLUMNS) if column != PERCENT]
        figures = sum(header.sectionSize(column) for column in others)
        least = NAME_HEIGHTS * qt.QFontMetrics(self.tree.font).height()
        left = value_of(viewport.width) - figures
        fits = 0 < self._percent_width <= left - least
        self.tree.setColumnHidden(PERCENT, not fits)
        width = max(least, left - (self._percent_width if fits else 0))
        if header.sectionSize(0) != width:
            header.resizeSection(0, width)

    def _width_of(self, column: int) -> int:
        """What a column's contents need, in pixels; it is shown then."""
        self._measuring = True
        self.tree.setColumnHidden(column, False)
        self.tree.resizeColumnToContents(column)
        self._measuring = False
        return self.tree.header().sectionSize(column)

    def _item(self, parent, name: str, title: str, texts: VolumetryTexts):
        item = self.items[name] = qt.QTreeWidgetItem(parent)
        item.setText(0, title)
        for column, text in enumerate(texts[1:COLUMNS], 1):
            item.setText(column, text)
            item.setTextAlignment(column, qt.Qt.AlignRight | qt.Qt.AlignVCenter)
        item.setData(0, qt.Qt.UserRole, name)
        return item

    def onItemChanged(self, item, column: int) -> None:
        """A tick was set or taken away: of a group for all of its structures."""
        if column != 0:
            return
        name, show = item.data(0, qt.Qt.UserRole), item.checkState(0) == qt.Qt.Checked
        keys = self.members.get(name, (name,))
        self.tree.blockSignals(True)
        for key in keys:
            self.items[key].setCheckState(0, _tick(show))
        for group, members in self.members.items():
            self.items[group].setCheckState(0, self._state_of(members))
        self.tree.blockSignals(False)
        self.on_tick(keys, show)

    def _state_of(self, keys: Sequence[str]):
        """The tick of a group: set, not set, or in between."""
        ticked = [self.items[key].checkState(0) == qt.Qt.Checked for key in keys]
        return (
            _tick(True) if all(ticked) else qt.Qt.PartiallyChecked if any(ticked) else _tick(False)
        )


def _mark(leaf, row: VolumetryRow) -> None:
    """Make a low expected Dice stand out, by a sign and not by its colour alone."""
    leaf.setText(DICE, f"! {row.texts.expected_dice}")
    leaf.setForeground(DICE, qt.QBrush(qt.QColor(MARK_COLOURS["ask"])))
    leaf.setToolTip(DICE, row.doubt)
    leaf.setToolTip(0, f"{row.tip}. {row.doubt}")


def _tick(show: bool):
    return qt.Qt.Checked if show else qt.Qt.Unchecked


def _swatch(color: tuple[int, int, int]):
    """A square of a structure's colour, framed, as white would not be seen."""
    picture = qt.QPixmap(SWATCH, SWATCH)
    picture.fill(qt.QColor(110, 110, 110))
    painter = qt.QPainter(picture)
    painter.fillRect(1, 1, SWATCH - 2, SWATCH - 2, qt.QColor(*color))
    painter.end()
    return qt.QIcon(picture)
