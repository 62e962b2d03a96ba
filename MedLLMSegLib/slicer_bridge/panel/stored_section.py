"""The table of models and caches on this computer, in the panel's section Models."""

from __future__ import annotations

import qt
import slicer

from MedLLMSegLib.registry.stored_files import delete_stored, stored_files
from MedLLMSegLib.slicer_bridge.presenter.stored_view import delete_question, deleted_text
from MedLLMSegLib.slicer_bridge.presenter.translation import _

from .result_section import fill_table


class StoredSection:
    """Lists what is kept, and deletes it. widget: the module's widget."""

    def __init__(self, widget):
        self.widget, ui = widget, widget.ui
        ui.storedTable.connect("itemSelectionChanged()", self.onSelect)
        ui.deleteStoredButton.connect("clicked(bool)", self.onDelete)
        header = ui.storedTable.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)

    def refresh(self) -> None:
        """Look again at what is kept."""
        self.widget.change(stored=stored_files())

    def show(self, rows: tuple[tuple[str, str], ...]) -> None:
        """Fill the table; the selected row stays selected while it is there."""
        table, panel = self.widget.ui.storedTable, self.widget.panel
        keys = [stored.key for stored in panel.stored]
        table.blockSignals(True)
        fill_table(table, rows)
        if panel.stored_selected in keys:
            table.selectRow(keys.index(panel.stored_selected))
        else:
            table.clearSelection()
        table.blockSignals(False)

    def onSelect(self) -> None:
        stored, row = self.widget.panel.stored, self.widget.ui.storedTable.currentRow()
        self.widget.change(stored_selected=stored[row].key if 0 <= row < len(stored) else "")

    def onDelete(self) -> None:
        """Delete the selected row's files, if the user says yes."""
        panel = self.widget.panel
        if panel.selected_stored is None:
            return
        question, done = delete_question(panel), deleted_text(panel)
        if slicer.util.confirmOkCancelDisplay(question, windowTitle=_("Delete")):
            self.widget.models.show_message(lambda: self._deleted(panel.stored_selected, done))

    def _deleted(self, key: str, done: str) -> str:
        try:
            delete_stored(key)
        finally:  # a part of it may be gone
            self.widget.models.refresh()
        return done
