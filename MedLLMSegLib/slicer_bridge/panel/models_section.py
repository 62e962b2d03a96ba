"""The panel's model list and its section Models."""

from __future__ import annotations

import qt
import slicer

from MedLLMSegLib.registry.licences import licence_text
from MedLLMSegLib.registry.model_parts import parts_model_for
from MedLLMSegLib.registry.old_bundles import old_bundle_note
from MedLLMSegLib.registry.user_models import (
    delete_model,
    import_model,
    is_users_model,
    verify_model,
)
from MedLLMSegLib.slicer_bridge.presenter.extra_inputs import has_sides, images_of
from MedLLMSegLib.slicer_bridge.presenter.models_view import with_managed
from MedLLMSegLib.slicer_bridge.presenter.panel_state import without_messages
from MedLLMSegLib.slicer_bridge.presenter.translation import _

from .panel_job import FileTask
from .qt_helpers import fill_box

LEAST_ROWS, MOST_ROWS = 2, 5  # that the list shows without scrolling


class ModelsSection:
    """Chooses and manages models. widget: the module's widget."""

    def __init__(self, widget):
        self.widget, ui = widget, widget.ui
        self._ids: list[str] = []
        self._managed_ids: tuple[str, ...] = ()
        ui.modelSearchEdit.connect("textChanged(QString)", lambda text: widget.change(search=text))
        ui.modelList.connect("currentRowChanged(int)", self.onRow)
        ui.managedComboBox.connect("currentIndexChanged(int)", self.onManaged)
        ui.importModelButton.connect("clicked(bool)", lambda: self.onImport(self._ask_folder()))
        ui.importZipButton.connect("clicked(bool)", lambda: self.onImport(self._ask_zip()))
        ui.verifyModelButton.connect("clicked(bool)", self.onVerify)
        ui.deleteModelButton.connect("clicked(bool)", self.onDelete)
        ui.openFolderButton.connect("clicked(bool)", self.onOpenFolder)
        ui.licenceButton.connect("clicked(bool)", self.onLicence)

    def refresh(self) -> None:
        """Read the list of models again."""
        models = tuple(self.widget.logic.models())
        entries = [m.entry for m in models]
        parts = {entry.id: parts_model_for(entry, entries) for entry in entries}
        images = {entry.id: images_of(entry) for entry in entries}
        self.widget.change(
            models=models,
            sided=frozenset(entry.id for entry in entries if has_sides(entry)),
            taking=tuple((name, taken) for name, taken in images.items() if len(taken) > 1),
            divided=tuple((name, found.id) for name, found in parts.items() if found is not None),
        )
        if self.widget.parameters is not None:
            self.widget.suggestions.update()
        self.widget.stored.refresh()
        self.widget.diagnosing.refresh()
        self.widget.training.refresh()
        panel = self.widget.panel
        listed = {m.entry.id for m in (*panel.models, *panel.classifiers)}
        if panel.state == "needs_licence" and panel.licensed.id not in listed:
            self.widget.replace(without_messages(panel))  # another Slicer has deleted it
        self.widget.change(
            own=frozenset(
                m.entry.id for m in (*panel.models, *panel.classifiers) if is_users_model(m.entry)
            )
        )

    def show(self, rows: tuple[tuple[str, str, str], ...], chosen: str) -> None:
        """Fill the list. rows: (id, title, tool tip)."""
        listed = self.widget.ui.modelList
        listed.blockSignals(True)
        listed.clear()
        for n, (_id, title, tip) in enumerate(rows):
            listed.addItem(title)
            listed.item(n).setToolTip(tip)
        self._ids = [row[0] for row in rows]
        listed.setCurrentRow(self._ids.index(chosen) if chosen in self._ids else -1)
        listed.blockSignals(False)
        height = listed.sizeHintForRow(0) if rows else listed.fontMetrics().height()
        listed.setFixedHeight(
            height * min(max(len(rows), LEAST_ROWS), MOST_ROWS) + 2 * listed.frameWidth
        )

    def show_managed_models(self, ids: tuple[str, ...], managed: str) -> None:
        """Fill the section's list of models of either kind."""
        self._managed_ids = ids
        fill_box(self.widget.ui.managedComboBox, ids, ids.index(managed) if managed in ids else -1)

    def onManaged(self, row: int) -> None:
        if 0 <= row < len(self._managed_ids):
            self.widget.replace(with_managed(self.widget.panel, self._managed_ids[row]))

    def onRow(self, row: int) -> None:
        if self.widget.parameters is not None and 0 <= row < len(self._ids):
            self.widget.choose_model(self._ids[row])

    def onImport(self, source: str) -> None:
        if source:
            self._in_thread(_("Importing..."), lambda: import_model(source), self._imported)

    def onVerify(self) -> None:
        entry = self.widget.panel.managed_entry
        self._in_thread(
            _("Reading the weights..."),
            lambda: verify_model(entry),
            self._verified,
        )

    def onDelete(self) -> None:
        entry = self.widget.panel.managed_entry
        question = _('Delete the model "{model}" from disk ({size} MB)?').format(
            model=entry.id, size=round(entry.size_mb)
        )
        if slicer.util.confirmOkCancelDisplay(question, windowTitle=_("Delete model")):
            self.show_message(lambda: self._deleted(entry))

    def onOpenFolder(self) -> None:
        qt.QDesktopServices.openUrl(
            qt.QUrl.fromLocalFile(str(self.widget.panel.managed_entry.folder))
        )

    def onLicence(self) -> None:
        panel = self.widget.panel
        entry = (
            panel.licensed
            if panel.state == "needs_licence" and panel.licensed is not None
            else panel.managed_entry
        )
        self.show_message(
            lambda: slicer.util.infoDisplay(
                f"{entry.title}: {entry.licence}",
                windowTitle=_("Licence"),
                detailedText=licence_text(entry),
            )
        )

    def _verified(self, entry) -> str:
        message = _("{model}: the weights are those of its sha256.").format(model=entry.id)
        return message + self._old_bundle_sentence(entry)

    def _old_bundle_sentence(self, entry) -> str:
        """What to do about a user's bundle that an older version wrote; "" for any other."""
        note = old_bundle_note(entry) if is_users_model(entry) else ""
        return f" {note[0].upper()}{note[1:]}." if note else ""

    def _imported(self, entry) -> str:
        return self._chosen(entry) + self._old_bundle_sentence(entry)

    def _chosen(self, entry) -> str:
        """Choose an imported model, and say where."""
        self.refresh()
        if any(m.entry.id == entry.id for m in self.widget.panel.classifiers):
            self.widget.diagnosing.choose(entry.id)
            self.widget.change(managed=entry.id)
            return _("{model} was imported and is chosen in the section Diagnose.").format(
                model=entry.id
            )
        self.widget.choose_model(entry.id)
        return _("{model} was imported and is chosen.").format(model=entry.id)

    def _deleted(self, entry) -> str:
        delete_model(entry)
        self.refresh()
        return _("{model} was deleted.").format(model=entry.id)

    def _in_thread(self, while_working: str, work, describe) -> None:
        """Work on files that may be large, in a thread.

        while_working: the message meanwhile. describe: makes a message of the result.
        """
        self.widget.change(models_message=while_working, models_busy=True)
        FileTask(work, lambda future: self.show_message(lambda: describe(future.result())))

    def show_message(self, work) -> None:
        """Do something, and show in the section the message that it returns or why it failed."""
        self.widget.change(models_busy=False)
        if self.widget.ui is None:  # the panel was closed meanwhile
            return
        try:
            message = work() or ""
            self.widget.log.say(message)
        except Exception as error:
            message = self.widget.log.sentence(error, "models")
        self.widget.change(models_message=message)

    def _ask_folder(self) -> str:
        return qt.QFileDialog.getExistingDirectory(
            slicer.util.mainWindow(), _("Folder of a model bundle")
        )

    def _ask_zip(self) -> str:
        return qt.QFileDialog.getOpenFileName(
            slicer.util.mainWindow(), _("Model bundle"), "", _("Zip files (*.zip)")
        )
