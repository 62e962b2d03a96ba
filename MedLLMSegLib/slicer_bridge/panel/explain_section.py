"""The panel's button Explain: where the evidence for a structure of the result lies."""

from __future__ import annotations

from functools import partial

from MedLLMSegLib.slicer_bridge.presenter.explain_view import with_explanation
from MedLLMSegLib.slicer_bridge.presenter.panel_state import message_beside_result

from .panel_job import JobSection, MapOverlay


class ExplainSection(JobSection):
    """job: the explanation that runs, or None. Its model ran before, so no licence is asked for."""

    task = "explain"
    needs_model = False

    def __init__(self, widget):
        super().__init__(widget)
        self.overlay = MapOverlay(
            lambda node, opacity: widget.logic.showEvidence(node, opacity=opacity), widget
        )
        widget.ui.explainButton.connect("clicked(bool)", self.onButton)

    @property
    def model(self):
        return None

    @property
    def map(self):
        """The volume node of the last explanation of the result, or None."""
        from MedLLMSegLib.slicer_bridge.scene.overlay import evidence_of

        node = self.widget.result.node
        return evidence_of(node) if node is not None else None

    def begin(self) -> None:
        """Explain the structure that is chosen in the list."""
        explain = partial(
            self.widget.logic.explainAsync,
            self.widget.result.node,
            self.widget.ui.explainComboBox.currentText,
            model=self.widget.result.model,
            device=self.widget.parameters.device.value,
        )
        self.run(explain, **message_beside_result(""))

    def onDone(self, job) -> None:
        self.job = None
        self.end(with_explanation(self.widget.panel, job))
        self.widget.log.job(job)
        self.widget.update()

    def show_choices(self, choices: tuple[str, ...]) -> None:
        """Fill the list of structures; the chosen one stays where it is still there."""
        combo = self.widget.ui.explainComboBox
        before = combo.currentText
        combo.clear()
        for name in choices:
            combo.addItem(name)
        if before in choices:
            combo.setCurrentIndex(choices.index(before))

    def update_overlay(self) -> None:
        """Show or hide the map, as the check box says; it goes before that of uncertainty."""
        shown = self.map if self.widget.panel.evidence else None
        opacity = self.widget.panel.uncertainty_opacity / 100
        self.overlay.update(self.widget.result.node, shown, opacity)
