"""The panel's section Train."""

from __future__ import annotations

from functools import partial

import qt
import slicer

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.registry.catalogue import DEFAULT_START
from MedLLMSegLib.slicer_bridge.install import licence_consent
from MedLLMSegLib.slicer_bridge.logic.unfinished_trainings import (
    broken_off,
    discard,
    saved_training,
    unfinished,
)
from MedLLMSegLib.slicer_bridge.presenter.panel_state import BUSY
from MedLLMSegLib.slicer_bridge.presenter.train_view import (
    discard_question,
    discarded_text,
    with_training,
)
from MedLLMSegLib.slicer_bridge.presenter.translation import _

from .learning_curve import LearningCurve
from .panel_job import JobSection
from .qt_helpers import fill_box, fit_height

LEAST_ROWS, MOST_ROWS = 3, 8


class TrainSection(JobSection):
    """Trains a model.

    pairs: (volume node, segmentation node) to train on; pairs with removed nodes are dropped.
    curve: the learning curve in the scene, or None.
    """

    task = "train"
    needs_model = False  # it may begin with new weights

    def __init__(self, widget):
        super().__init__(widget)
        self.pairs: list[tuple] = []
        self.curve: LearningCurve | None = None
        self._starts: list[str | None] = []
        ui = widget.ui
        ui.trainVolumeSelector.connect(
            "currentNodeChanged(vtkMRMLNode*)", lambda node: self.update()
        )
        ui.trainSegmentationSelector.connect(
            "currentNodeChanged(vtkMRMLNode*)", lambda node: self.update()
        )
        ui.trainNameEdit.connect("textChanged(QString)", self.onName)
        ui.pairTable.connect("itemSelectionChanged()", self.update)
        ui.addPairButton.connect("clicked(bool)", self.onAdd)
        ui.addAllPairsButton.connect("clicked(bool)", self.onAddAll)
        ui.removePairButton.connect("clicked(bool)", self.onRemove)
        ui.curveButton.connect("clicked(bool)", self.onCurve)
        ui.discardButton.connect("clicked(bool)", self.onDiscard)
        ui.trainButton.connect("clicked(bool)", self.onButton)
        ui.goOnButton.connect("clicked(bool)", self.onGoOn)
        ui.pairTable.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        if broken_off():  # the section says how they go on
            ui.trainCollapsibleButton.collapsed = False

    def update(self) -> None:
        """Update the state from the selected nodes and those that are gone."""
        if self.widget.ui is None:  # selectors of a reloaded panel still report removed nodes
            return
        self.pairs = [
            pair for pair in self.pairs if all(node.GetScene() is not None for node in pair)
        ]
        pair = self._selected_nodes()
        self.widget.change(
            pairs=tuple(
                (volume.GetName(), segmentation.GetName()) for volume, segmentation in self.pairs
            ),
            pair_chosen=all(pair) and pair not in self.pairs,
            pair_selected=0 <= self.widget.ui.pairTable.currentRow() < len(self.pairs),
        )

    def show(self, pairs: tuple[tuple[str, str], ...]) -> None:
        """Fill the table of pairs."""
        table = self.widget.ui.pairTable
        table.blockSignals(True)
        table.setRowCount(len(pairs))
        for row, names in enumerate(pairs):
            for column, name in enumerate(names):
                item = qt.QTableWidgetItem(name)
                item.setToolTip(name)
                table.setItem(row, column, item)
        table.blockSignals(False)
        fit_height(table, LEAST_ROWS, MOST_ROWS)

    def show_starts(self, starts: tuple[tuple[str | None, str], ...]) -> None:
        """Fill the list of what a training can start from.

        The choice stays if it is still listed; at first it is the chosen model, or the usual one
        where nothing can start from that.
        """
        before = self.start if len(self._starts) > 1 else self.widget.panel.model
        self._starts = [name for name, _title in starts]
        if before not in self._starts:
            before = DEFAULT_START
        fill_box(
            self.widget.ui.trainStartComboBox,
            [title for _name, title in starts],
            self._starts.index(before) if before in self._starts else 0,
        )

    @property
    def start(self) -> str | None:
        """The id of the model that the training starts from, or None."""
        row = self.widget.ui.trainStartComboBox.currentIndex
        return self._starts[row] if 0 <= row < len(self._starts) else None

    @property
    def model(self):
        """The `ModelEntry` that the training starts from, or None."""
        return next((m.entry for m in self.widget.panel.models if m.entry.id == self.start), None)

    @property
    def models(self):
        name = self.widget.panel.going_on
        if not name:
            return (self.model,)
        start = saved_training(name).start
        return tuple(m.entry for m in self.widget.panel.models if m.entry.id == start)

    def onButton(self) -> None:
        if self.widget.panel.state not in BUSY:
            self.widget.change(going_on="")
        super().onButton()

    def onGoOn(self) -> None:
        """Go on with the first training that was broken off."""
        panel = self.widget.panel
        self.widget.change(going_on=panel.going_on or panel.broken_off[0])
        try:
            self.widget.consent.ask(self)
        except UserError as error:  # what was saved of it no longer fits
            self.widget.consent.fail(self.task, error)
            self.widget.change(going_on="")

    def onName(self, text: str) -> None:
        if self.widget.parameters is not None:
            self.widget.parameters.trainName = text

    def show_name(self, name: str) -> None:
        """Show the name of the new model.

        The edit is not bound to the parameter: Slicer sets bound widgets at every change, and the
        cursor would jump to the end while the user types (Slicer issue 8620).
        """
        edit = self.widget.ui.trainNameEdit
        if edit.text != name:
            edit.text = name

    def onAdd(self) -> None:
        pair = self._selected_nodes()
        if all(pair) and pair not in self.pairs:
            self.pairs.append(pair)
        self.update()

    def onAddAll(self) -> None:
        for segmentation in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
            volume = segmentation.GetNodeReference(
                segmentation.GetReferenceImageGeometryReferenceRole()
            )
            if volume is not None and (volume, segmentation) not in self.pairs:
                self.pairs.append((volume, segmentation))
        self.update()

    def onRemove(self) -> None:
        row = self.widget.ui.pairTable.currentRow()
        if 0 <= row < len(self.pairs):
            del self.pairs[row]
        self.update()

    def onCurve(self) -> None:
        # the scene may have been closed while the training went on
        if self.curve is not None and not self.curve.in_scene:
            self.curve = LearningCurve(self.curve.name)
            self.curve.update(self.widget.panel.history)
        if self.curve is not None:
            self.curve.show()

    def refresh(self) -> None:
        """Read the list of unfinished trainings again."""
        self.widget.change(unfinished=unfinished(), broken_off=broken_off())

    def onDiscard(self) -> None:
        if slicer.util.confirmOkCancelDisplay(
            discard_question(self.widget.panel.unfinished), windowTitle=_("Discard")
        ):
            discard()
            self.refresh()
            self.widget.change(
                train_message=discarded_text(self.widget.panel.unfinished), train_failed=False
            )

    def begin(self) -> None:
        """Start the training; errors in the pairs or the name are shown in the section."""
        going_on = self.widget.panel.going_on
        self.run(
            partial(self.widget.logic.goOnTrainingAsync, going_on, onHistory=self.onHistory)
            if going_on
            else self._train_on_pairs,
            history=(),
            train_message="",
            train_failed=False,
        )

    def _train_on_pairs(self, **callbacks):
        chosen = self.widget.parameters
        return self.widget.logic.trainAsync(
            list(self.pairs),
            self.widget.panel.train_name,
            start=self.start,
            minutes=chosen.trainMinutes,
            device=chosen.device.value,
            onHistory=self.onHistory,
            **callbacks,
        )

    def onHistory(self, history) -> None:
        """history: all rows so far."""
        if self.curve is None:
            panel = self.widget.panel
            self.curve = LearningCurve(panel.going_on or panel.train_name)
            self.curve.update(history)
            self.curve.show()
        elif self.curve.in_scene:
            self.curve.update(history)
        self.widget.change(history=tuple(history))

    def onDone(self, job) -> None:
        self.job = None
        if job.state != "done" and self.curve is not None:
            self.curve.remove()
        self.curve = self.curve if job.state == "done" else None
        self.widget.change(**({} if job.state == "done" else {"history": ()}))
        self.widget.replace(with_training(self.widget.panel, job))
        self.widget.change(going_on="")
        self.refresh()
        self.widget.log.job(job)
        if job.state == "done" and job.model is not None:
            self.widget.models.refresh()
            self.widget.choose_model(job.model.id)
            if licence_consent.must_ask(job.model):  # the user has accepted it for the start model
                licence_consent.accept(job.model)

    def leave_scene(self) -> None:
        super().leave_scene()
        self.pairs = []
        if self.job is None or self.job.needsScene:  # else the user may ask for its curve again
            self.curve = None

    def close(self) -> None:
        """Drop all nodes."""
        self.pairs, self.curve = [], None

    def _selected_nodes(self) -> tuple:
        ui = self.widget.ui
        return ui.trainVolumeSelector.currentNode(), ui.trainSegmentationSelector.currentNode()
