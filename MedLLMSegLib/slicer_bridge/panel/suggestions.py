"""The panel's suggestion of a model for the chosen scan."""

from __future__ import annotations

from typing import Any

import slicer
import vtk

from MedLLMSegLib.registry.catalogue import DEFAULT_SEGMENTER
from MedLLMSegLib.slicer_bridge.presenter.models_view import with_model
from MedLLMSegLib.slicer_bridge.presenter.panel_state import BUSY
from MedLLMSegLib.slicer_bridge.presenter.suggestion import suggestion_for


class SuggestionSection:
    """Suggests a model when a scan is chosen; the user's own choice of one stays.

    widget: the module's widget.
    """

    def __init__(self, widget):
        self.widget = widget
        self._seen: tuple = ()  # the facts, models and choice that the suggestion is about
        self._known_scan = ""  # the id of a scan for which a model was chosen before
        self._suggested = ""  # the model that was chosen for the user
        self._observed: Any = None  # the scan
        widget.ui.suggestionButton.connect("clicked(bool)", self.onChoose)

    def restore(self) -> None:
        """Choices that were made before, such as those saved with a scene, are about to be shown:
        their scan is no new one.
        """
        scan = self._scan
        self._known_scan = scan.GetID() if scan is not None else ""

    def forget(self) -> None:
        """The scene is being closed."""
        self._observe(None)
        self._seen, self._known_scan = (), ""

    def update(self, caller=None, event=None) -> None:
        """A choice has changed, or the scan: suggest a model."""
        from MedLLMSegLib.slicer_bridge.scene.scan_facts import scan_facts

        if self.widget.ui is None or self.widget.parameters is None:
            return
        scan, models = self._scan, self.widget.panel.models
        self._observe(scan)
        facts, chosen = scan_facts(scan), self.widget.parameters.model
        seen = (facts, tuple(m.entry.id for m in models), chosen)
        if seen == self._seen or not models:
            return
        self._seen = seen
        suggestion = suggestion_for(facts, models, chosen)
        self.widget.change(suggestion=suggestion)
        if facts is not None and scan.GetID() != self._known_scan:
            self._known_scan = scan.GetID()
            if self._may_choose(suggestion.model):
                self._choose(suggestion.model)

    @property
    def _scan(self):
        """The chosen scan; None without one, and while it is being removed."""
        scan = self.widget.parameters.inputVolume
        return scan if scan is not None and scan.GetScene() is not None else None

    def _observe(self, scan) -> None:
        """Hear of the scan's voxels, which may come after it was chosen, and of its name."""
        if scan is self._observed:
            return
        widget = self.widget
        for event in (
            vtk.vtkCommand.ModifiedEvent,
            slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent,
        ):
            if self._observed is not None:
                widget.removeObserver(self._observed, event, self.update)
            if scan is not None:
                widget.addObserver(scan, event, self.update)
        self._observed = scan

    def _may_choose(self, model: str) -> bool:
        parameters, panel = self.widget.parameters, self.widget.panel
        # a script may have set another one
        untouched = parameters.model in (DEFAULT_SEGMENTER, self._suggested)
        is_users_own = parameters.modelChosen or not untouched
        return model not in ("", parameters.model) and not is_users_own and panel.state not in BUSY

    def _choose(self, model: str) -> None:
        self._suggested = model
        self.widget.parameters.model = model
        self.widget.replace(with_model(self.widget.panel, model))

    def onChoose(self) -> None:
        model = self.widget.panel.suggestion.model
        if model and self.widget.parameters is not None:
            self.widget.choose_model(model)
