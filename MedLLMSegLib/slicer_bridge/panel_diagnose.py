"""The panel's section Diagnose: Qt and MRML side."""
from __future__ import annotations

import time

import qt

from .panel_state import BUSY
from .panel_result import fill_table
from .presenter_diagnose import with_classifier, with_diagnosis



class DiagnoseSection:
    """widget: the module's widget. job: the diagnosis that runs, or None. table, image: nodes of the last one, or None."""

    def __init__(self, widget):
        self.widget, self.job, self.table, self.image = widget, None, None, None
        self._began, self._ids, self._overlay = 0.0, (), None
        ui = widget.ui
        ui.diagnoseImageSelector.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: self.update())
        ui.classifierComboBox.connect("currentIndexChanged(int)", self.onClassifier)
        ui.diagnoseButton.connect("clicked(bool)", self.onButton)
        ui.diagnoseNotNowButton.connect("clicked(bool)", lambda: widget.running.onNotNow())
        header = ui.diagnosisTable.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)

    def refresh(self) -> None:
        """Read again which classifiers there are."""
        found, panel = tuple(self.widget.logic.classifiers()), self.widget.panel
        ids = [choice.entry.id for choice in found]
        self.widget.change(classifiers=found, classifier=panel.classifier if panel.classifier in ids else (ids or [""])[0])

    def update(self) -> None:
        """Take account of what is selected, and of nodes that are gone."""
        if self.widget.ui is None:  # the widgets of a panel that was reloaded still tell of nodes that go
            return
        image = self.widget.ui.diagnoseImageSelector.currentNode()
        self.widget.change(image=image.GetName() if image is not None and image.GetScene() is not None else None,
                           heated=self.map is not None)

    @property
    def map(self):
        """The volume node of the last diagnosis's heat map, or None."""
        from .overlay import heat_map_of

        return heat_map_of(self.table) if self.table is not None and self.table.GetScene() is not None else None

    def show_classifiers(self, ids: tuple[str, ...], chosen: str) -> None:
        """Fill the list."""
        box = self.widget.ui.classifierComboBox
        box.blockSignals(True)
        box.clear()
        for name in ids:
            box.addItem(name)
        self._ids = ids
        box.setCurrentIndex(ids.index(chosen) if chosen in ids else -1)
        box.blockSignals(False)

    def show(self, rows: tuple[tuple[str, str, str, str], ...]) -> None:
        """Fill the table."""
        fill_table(self.widget.ui.diagnosisTable, rows)

    def update_overlay(self) -> None:
        """Show or hide the last heat map, as the check box says."""
        wanted = self.table if self.widget.panel.heat and self.map is not None else None
        if wanted is self._overlay:
            return
        before, self._overlay = self._overlay, wanted
        self._lay(before, False)
        self._lay(wanted, True)

    def onClassifier(self, row: int) -> None:
        if 0 <= row < len(self._ids):
            self.widget.replace(with_classifier(self.widget.panel, self._ids[row]))

    def onButton(self) -> None:
        panel = self.widget.panel
        if panel.state in BUSY:
            self.cancel()
        elif panel.chosen_classifier is not None:
            self.widget.running.with_consent("diagnose", panel.chosen_classifier, self.begin)

    def begin(self) -> None:
        """Diagnose the selected image."""
        widget, self._began = self.widget, time.monotonic()
        self.image = widget.ui.diagnoseImageSelector.currentNode()
        widget.change(state="running", task="diagnose", stage="start", fraction=0.0, seconds_left=None, diagnose_message="",
                      diagnose_notes=(), diagnose_failed=False, diagnosed=self.image.GetName() if self.image is not None else "")
        try:
            self.job = widget.logic.diagnoseAsync(self.image, onProgress=self.onProgress, onDone=self.onDone,
                                                  model=widget.panel.classifier, device=widget.parameters.device.value)
        except Exception as error:
            widget.change(state="idle", diagnose_message=widget.log.sentence(error), diagnose_failed=True)

    def cancel(self) -> None:
        if self.job is not None:
            self.widget.logic.cancel(self.job)
            self.widget.change(state="cancelling")

    def onProgress(self, stage: str, fraction: float, secondsLeft: float | None) -> None:
        self.widget.change(stage=stage, fraction=fraction, seconds_left=secondsLeft)

    def onDone(self, job) -> None:
        self.job = None
        if job.state == "done":
            self.table = job.tableNode
        self.widget.replace(with_diagnosis(self.widget.panel, job, time.monotonic() - self._began))
        self.widget.log.job(job)
        self.update()
        self.update_overlay()

    def close(self) -> None:
        """Let go of all nodes."""
        self.table = self.image = self._overlay = None

    def _lay(self, table, show: bool) -> None:
        if table is not None and table.GetScene() is not None:
            image = self.image if self.image is not None and self.image.GetScene() is not None else None
            try:
                self.widget.logic.showHeatMap(table, image if show else None, show)
            except Exception as error:  # the map was deleted
                self.widget.log.sentence(error)
