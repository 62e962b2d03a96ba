"""The panel's section Diagnose."""

from __future__ import annotations

import qt

from MedLLMSegLib.slicer_bridge.presenter.diagnose_view import with_classifier, with_diagnosis
from MedLLMSegLib.slicer_bridge.presenter.extra_inputs import extra_inputs_of
from MedLLMSegLib.slicer_bridge.scene.map_roles import is_map

from .panel_job import JobSection, MapOverlay
from .qt_helpers import fill_box, fit_height
from .result_section import fill_table

MOST_FIELDS = 6  # of a record that are shown without scrolling


class DiagnoseSection(JobSection):
    """job: the diagnosis that runs, or None. table, image: nodes of the last one, or None."""

    task = "diagnose"

    def __init__(self, widget):
        super().__init__(widget)
        self.table = self.image = None
        self._ids: tuple[str, ...] = ()
        self.overlay, ui = MapOverlay(self._show_heat_map, widget), widget.ui
        ui.diagnoseImageSelector.connect(
            "currentNodeChanged(vtkMRMLNode*)", lambda node: self.update()
        )
        ui.classifierComboBox.connect("currentIndexChanged(int)", self.onClassifier)
        ui.diagnoseButton.connect("clicked(bool)", self.onButton)
        ui.recordTable.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        header = ui.diagnosisTable.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)

    def refresh(self) -> None:
        """Read the list of classifiers again."""
        found, chosen = tuple(self.widget.logic.classifiers()), self.widget.panel.classifier
        ids = [choice.entry.id for choice in found]
        self.widget.change(classifiers=found)
        self.choose(chosen if chosen in ids else (ids or [""])[0])

    def choose(self, name: str) -> None:
        """Make a classifier the chosen one, with its extra inputs."""
        entry = next(
            (choice.entry for choice in self.widget.panel.classifiers if choice.entry.id == name),
            None,
        )
        self.widget.replace(with_classifier(self.widget.panel, name, extra_inputs_of(entry)))

    def update(self) -> None:
        """Update the state from the selected nodes and those that are gone."""
        if self.widget.ui is None:  # selectors of a reloaded panel still report removed nodes
            return
        image = self.widget.ui.diagnoseImageSelector.currentNode()
        usable = image is not None and image.GetScene() is not None and not is_map(image)
        name = image.GetName() if usable else None
        self.widget.change(image=name, heated=self.map is not None)

    @property
    def map(self):
        """The volume node of the last diagnosis's heat map, or None."""
        from MedLLMSegLib.slicer_bridge.scene.overlay import heat_map_of

        if self.table is None or self.table.GetScene() is None:
            return None
        return heat_map_of(self.table)

    def show_classifiers(self, ids: tuple[str, ...], chosen: str) -> None:
        """Fill the list."""
        self._ids = ids
        fill_box(self.widget.ui.classifierComboBox, ids, ids.index(chosen) if chosen in ids else -1)

    def show_fields(self, fields: tuple[tuple[str, str], ...]) -> None:
        """Fill the table of the record's fields, (name, hint) each, with empty values."""
        table = self.widget.ui.recordTable
        table.setRowCount(len(fields))
        for row, (name, hint) in enumerate(fields):
            field, value = qt.QTableWidgetItem(name), qt.QTableWidgetItem("")
            field.setFlags(qt.Qt.ItemIsEnabled)  # not editable
            field.setToolTip(f"{name}: {hint}")
            value.setToolTip(hint)
            table.setItem(row, 0, field)
            table.setItem(row, 1, value)
        fit_height(table, 1, MOST_FIELDS)

    def show(self, rows: tuple[tuple[str, str, str, str], ...]) -> None:
        """Fill the table."""
        fill_table(self.widget.ui.diagnosisTable, rows)

    def update_overlay(self) -> None:
        """Show or hide the heat map of the last diagnosis, as the check box says."""
        shown = self.map if self.widget.panel.heat else None
        self.overlay.update(self.table, shown, self.widget.panel.heat_opacity / 100)

    def onClassifier(self, row: int) -> None:
        if 0 <= row < len(self._ids):
            self.choose(self._ids[row])

    @property
    def model(self):
        return self.widget.panel.chosen_classifier

    def begin(self) -> None:
        """Diagnose the selected image."""
        widget, self.image = self.widget, self.widget.ui.diagnoseImageSelector.currentNode()
        self.run(
            lambda **callbacks: widget.logic.diagnoseAsync(
                self.image,
                **callbacks,
                model=widget.panel.classifier,
                device=widget.parameters.device.value,
                **self.extra_input_options(),
            ),
            diagnose_message="",
            diagnose_notes=(),
            diagnose_failed=False,
            diagnosed=self.image.GetName() if self.image is not None else "",
        )

    def extra_input_options(self) -> dict:
        """Options of the logic's `diagnoseAsync` for the model's extra inputs."""
        requested, ui = self.widget.panel.extra_inputs, self.widget.ui
        lungs = ui.lungMaskSelector.currentNode() if requested.lungs else None
        cells = [
            (name, ui.recordTable.item(row, 1).text().strip())
            for row, (name, _hint) in enumerate(requested.fields)
        ]
        record = {name: value for name, value in cells if value}
        options = {}
        if lungs is not None:
            options["lungs"] = lungs
        if record:
            options["record"] = record
        return options

    def onDone(self, job) -> None:
        self.job = None
        if job.state == "done":
            self.table = job.tableNode
        self.end(with_diagnosis(self.widget.panel, job, self.seconds))
        self.widget.log.job(job)
        self.update()
        self.update_overlay()

    def close(self) -> None:
        """Drop all nodes."""
        self.table = self.image = None
        self.overlay.forget()

    def _show_heat_map(self, table, opacity: float) -> None:
        image = self.image if self.image is not None and self.image.GetScene() is not None else None
        self.widget.logic.showHeatMap(table, image, opacity=opacity)
