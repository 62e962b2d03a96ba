"""The panel's result: table, 3D, uncertainty overlay, Restore, and what can be copied."""

from __future__ import annotations

import qt

from MedLLMSegLib.slicer_bridge.presenter.panel_state import message_fields
from MedLLMSegLib.slicer_bridge.presenter.segment_view import copied_table
from MedLLMSegLib.slicer_bridge.presenter.translation import _
from MedLLMSegLib.slicer_bridge.presenter.volumetry_view import VolumetryGroup

from .log_section import copy
from .panel_job import MapOverlay
from .qt_helpers import fit_height
from .result_tables import ResultTable, ResultTables
from .structure_tree import StructureTree

MOST_ROWS = 10


class ResultSection:
    """The result of the last segmentation. widget: the module's widget. about: the segmentation
    node that the message and the table are about, or None.
    """

    def __init__(self, widget):
        self.widget, ui = widget, widget.ui
        self.overlay = MapOverlay(
            lambda node, opacity: widget.logic.showUncertainty(node, opacity=opacity), widget
        )
        self._tables = ResultTables()
        self.about = self.batch_table = None
        ui.copyTableButton.connect("clicked(bool)", self.onCopyTable)
        ui.copyTextButton.connect("clicked(bool)", self.onCopyText)
        ui.restoreButton.connect("clicked(bool)", self.onRestore)
        ui.editButton.connect("clicked(bool)", self.onEdit)
        ui.smoothingSpinBox.connect("valueChanged(int)", self.onSmoothing)
        ui.copyPythonButton.connect(
            "clicked(bool)", lambda: self._copy_call(widget.logic.pythonLines)
        )
        ui.copyCommandButton.connect(
            "clicked(bool)", lambda: self._copy_call(widget.logic.commandLine)
        )
        self.tree = StructureTree(ui.resultTree, self.onTick)
        self.groups: tuple[VolumetryGroup, ...] = ()
        header = ui.resultTable.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)

    @property
    def node(self):
        """The segmentation node that the last run wrote, or None."""
        return (
            self.widget.parameters.resultSegmentation
            if self.widget.parameters is not None
            else None
        )

    @property
    def map(self):
        """The volume node that says where that run was unsure, or None."""
        from MedLLMSegLib.slicer_bridge.scene.overlay import uncertainty_of

        return uncertainty_of(self.node) if self.node is not None else None

    @property
    def model(self) -> str | None:
        """The model of the last run, whose rows are shown; None where that is not known."""
        return self._tables.model_of(self.node) or None

    def take(self, job) -> None:
        """Show the result of a segmentation, even if the user has gone to another module."""
        from MedLLMSegLib.slicer_bridge.scene.overlay import look_at

        parameters = self.widget.parameters or self.widget.logic.getParameterNode()
        is_new_node = job.segmentationNode not in (
            parameters.resultSegmentation,
            parameters.outputSegmentation,
        )
        self.about = parameters.resultSegmentation = job.segmentationNode
        table = ResultTable(job.rows, job.volumetry, job.sentences, job.drawnBy, job.inserted)
        self._tables.take(job.segmentationNode, table)
        self.show_groups(self.groups)  # with the ticks of this node's segments
        if is_new_node and self.widget.parameters is not None:  # else leave the views as they are
            look_at(job.segmentationNode)

    def show(self, rows: tuple[tuple[str, str, str], ...]) -> None:
        """Fill the table."""
        fill_table(self.widget.ui.resultTable, rows)

    def show_groups(self, groups: tuple[VolumetryGroup, ...]) -> None:
        """Fill the tree that stands in the table's place where there are many structures."""
        from MedLLMSegLib.slicer_bridge.scene.structure_visibility import hidden_structures

        self.groups = groups
        self.tree.show(groups, hidden_structures(self.node))

    def onTick(self, keys, show: bool) -> None:
        from MedLLMSegLib.slicer_bridge.scene.structure_visibility import show_structures

        if self.node is not None:
            show_structures(self.node, keys, show)

    def update_overlay(self) -> None:
        """Show or hide the map of the last run, as the check box says."""
        covered = self.widget.panel.evidence and self.widget.panel.evidenced
        shown = self.map if self.widget.panel.uncertainty and not covered else None
        self.overlay.update(self.node, shown, self.widget.panel.uncertainty_opacity / 100)

    @property
    def restored_node(self):
        """What Restore is about: the table of the last batch, whose segmentations are all new, or
        the segmentation of the last run. None without either.
        """
        table = self.batch_table
        return table if table is not None and table.GetScene() is not None else self.node

    def onRestore(self) -> None:
        node = self.restored_node
        try:
            self.widget.logic.restore(node)
        except Exception as error:
            self._show_failure(error)
        else:
            if node is self.node:
                self._show_restored()
            else:
                text = _("The table of the batch before is back; press Restore again to undo that.")
                self.widget.change(**message_fields(text))
        self.widget.update()

    def _show_restored(self) -> None:
        table = self._tables.restored(self.node)
        self.widget.change(
            **message_fields(_("Restored; press Restore again to undo that.")),
            rows=tuple(table.rows),
            volumetry=table.volumetry,
            sentences=table.sentences,
            inserted=table.inserted,
        )
        self.show_groups(self.groups)  # with the ticks of the segments that came back

    def close(self) -> None:
        """The scene is being closed: drop what is known of its nodes."""
        self._tables, self.about, self.batch_table = ResultTables(), None, None
        self.overlay.forget()

    def _show_failure(self, error: Exception) -> None:
        self.widget.change(**message_fields(self.widget.log.sentence(error), failed=True))

    @property
    def smoothing(self) -> int:
        """Of the result's surfaces, in percent."""
        if self.node is None:
            return self.widget.panel.smoothing
        from MedLLMSegLib.slicer_bridge.scene.surface_smoothing import smoothing_of

        return smoothing_of(self.node)

    def onSmoothing(self, percent: int) -> None:
        from MedLLMSegLib.slicer_bridge.scene.surface_smoothing import set_smoothing

        if self.node is not None:
            set_smoothing(self.node, percent)
            self.widget.change(smoothing=self.smoothing)

    def onEdit(self) -> None:
        from MedLLMSegLib.slicer_bridge.scene.segment_editor import edit_segmentation

        try:
            edit_segmentation(self.node, self.widget.parameters.inputVolume)
        except Exception as error:
            self._show_failure(error)

    def onCopyTable(self) -> None:
        copy(copied_table(self.widget.panel))

    def onCopyText(self) -> None:
        copy("\n".join([*self.widget.panel.sentences, ""]))

    def _copy_call(self, write) -> None:
        try:
            running = self.widget.running
            scans, options = running.scans(), running.options()
            if len(scans) > 1:
                options["segmentationNode"] = None
            copy("\n".join(write(scan, **options) for scan in scans))
        except Exception as error:
            self._show_failure(error)


def fill_table(table, rows) -> None:
    """Fill a table: names on the left, with tooltips as they may be cut off, then numbers."""
    table.setRowCount(len(rows))
    for row, texts in enumerate(rows):
        for column, text in enumerate(texts):
            item = qt.QTableWidgetItem(text)
            if column:
                item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
            else:
                item.setToolTip(text)
            table.setItem(row, column, item)
    fit_height(table, 1, MOST_ROWS)
