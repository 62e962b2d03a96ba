"""The panel's state: everything that decides what its sections show."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from .extra_inputs import NO_EXTRA_INPUTS, ExtraInputs
from .suggestion import NO_SUGGESTION, Suggestion

BUSY = ("installing", "running", "cancelling")
AWAITING_CONSENT = ("needs_licence", "needs_packages")  # for the user to answer
MOST_FURTHER = 3  # images beside the input that the panel can choose
LEAST_PAIRS = 2  # one case to train on and one to validate


@dataclass(frozen=True)
class Failure:
    """The last error, for **Copy details**.

    task: what was tried: "segment", "explain", "train", "diagnose" or "models". sentence: as it was
    shown. clean_text: the sentence and its traceback without patient data.
    """

    task: str
    sentence: str
    clean_text: str


@dataclass(frozen=True)
class Panel:
    """Everything that decides what the panel shows.

    Of all sections:
    state: "idle", "needs_licence" or "needs_packages" (consent is asked for), "installing",
        "running", "cancelling" or "failed".
    task: what runs or ran last: "segment", "explain", "train" or "diagnose".
    packages: the packages to install, with sizes. licensed: the `ModelEntry` whose licence is asked
        for.
    stage, fraction (0 to 1, None if not known), seconds_left: the progress. stoppable: the
        installation can be cancelled.
    failure: the last error, None before it.

    Of the scan and the models to segment with:
    input: the scan's name. region: the name of the ROI that limits the search, or None. scans: how
    many are in the scene. loading_sample: MRHead is downloaded.
    all_scans: every scan is to be segmented, not the input alone.
    height_cm, weight_kg: of the person; 0 where not known.
    models: `ModelChoice`s. model: the chosen one's id. search: the text in the search field.
    suggestion: the model that suits the scan, and why.
    own: ids of models that the user may delete. sided: of those that outline an organ with two
        sides. taking: (id, the images of a patient that it takes, for people) of those that take
        several. further: names of the images that are chosen beside the input, or None. image_ids:
        the IDs of the input's node and of theirs, as nodes may share a name. images_in_input: how
        many of a patient the input's node holds. divided: (id, id of the model that divides its
        structures into parts). divide: the user wants these parts.
    stored: `StoredFiles` that are kept on this computer. stored_selected: the selected one's key.
    managed: the id of the model, of either kind, in the section Models. models_busy: its files are
        being read or written.

    Of the result:
    message, notes: sentences about the last run. message_failed: the message says what failed.
    result: name of the segmentation that it wrote.
    rows: (structure, volume in mL, mean confidence). volumetry: a `Volumetry`, of a model of the
    whole brain, else None. quality: a `ScanQuality`, None where nothing is known. sentences: what
    was measured, in plain sentences. inserted: names of the rows that a second model drew inside
    the first one's structures. can_restore: it overwrote something.
    smoothing: of its surfaces in 3D, in percent.
    uncertainty: the map is to be shown. mapped: there is one. uncertainty_opacity: percent.
    evidence: the map of a structure's evidence is to be shown, as opaque. evidenced: there is one.

    Of the training:
    pairs: names of (volume, segmentation) to train on. pair_chosen: two nodes are selected that can
        be added. pair_selected: a row of the table is selected.
    history: rows of a training's history.json. unfinished: ids of trainings that can be resumed,
        with copies of their scans. broken_off: those that were saved and that nobody is running.
    going_on: the id of the one that is to go on, "" for a new training.

    Of the diagnosis:
    classifiers: `ModelChoice`s. classifier: the chosen one's id. extra_inputs: what it takes
        besides the image.
    image: name of the selected image. diagnosed: of the last one that was diagnosed.
    diagnosis: (class, probability, threshold or None, whether it is the answer).
    heat: the heat map is to be shown. heated: there is one. heat_opacity: percent.
    """

    state: str = "idle"
    task: str = "segment"
    input: str | None = None
    region: str | None = None
    scans: int = 0
    all_scans: bool = False
    height_cm: int = 0
    weight_kg: int = 0
    loading_sample: bool = False
    models: tuple = ()
    model: str = ""
    search: str = ""
    suggestion: Suggestion = NO_SUGGESTION
    own: frozenset[str] = frozenset()
    sided: frozenset[str] = frozenset()
    taking: tuple[tuple[str, tuple[str, ...]], ...] = ()
    further: tuple[str | None, ...] = (None,) * MOST_FURTHER
    image_ids: tuple[str | None, ...] = ()
    images_in_input: int = 1
    divided: tuple[tuple[str, str], ...] = ()
    divide: bool = False
    models_message: str = ""
    models_busy: bool = False
    managed: str = ""
    stored: tuple = ()
    stored_selected: str = ""
    packages: tuple[str, ...] = ()
    licensed: Any = None
    stage: str = ""
    fraction: float | None = 0.0
    stoppable: bool = False
    seconds_left: float | None = None
    failure: Failure | None = None
    message: str = ""
    notes: tuple[str, ...] = ()
    message_failed: bool = False
    result: str | None = None
    rows: tuple[tuple[str, float, float], ...] = ()
    volumetry: Any = None
    quality: Any = None
    sentences: tuple[str, ...] = ()
    inserted: tuple[str, ...] = ()
    can_restore: bool = False
    smoothing: int = 50
    uncertainty: bool = False
    mapped: bool = False
    uncertainty_opacity: int = 70
    evidence: bool = True
    evidenced: bool = False
    pairs: tuple[tuple[str, str], ...] = ()
    pair_chosen: bool = False
    pair_selected: bool = False
    train_name: str = ""
    train_message: str = ""
    train_failed: bool = False
    history: tuple[dict, ...] = ()
    unfinished: tuple[str, ...] = ()
    broken_off: tuple[str, ...] = ()
    going_on: str = ""
    classifiers: tuple = ()
    classifier: str = ""
    extra_inputs: ExtraInputs = NO_EXTRA_INPUTS
    image: str | None = None
    diagnosed: str = ""
    diagnosis: tuple[tuple[str, float, float | None, bool], ...] = ()
    diagnose_message: str = ""
    diagnose_notes: tuple[str, ...] = ()
    diagnose_failed: bool = False
    heat: bool = True
    heated: bool = False
    heat_opacity: int = 70

    @property
    def is_batch(self) -> bool:
        """Whether Segment is about several scans."""
        return self.all_scans and self.scans > 1

    @property
    def chosen(self):
        """The chosen model's `ModelEntry`, or None."""
        return next((m.entry for m in self.models if m.entry.id == self.model), None)

    @property
    def further_images(self) -> tuple[str, ...]:
        """What the chosen model takes beside the input, for people; () for one image."""
        return dict(self.taking).get(self.model, ())[1:]

    @property
    def has_all_images(self) -> bool:
        """Whether the input holds all images that the chosen model takes, and it takes several."""
        return len(self.further_images) > 0 and self.images_in_input == len(self.further_images) + 1

    @property
    def parts_model(self):
        """The `ModelEntry` that divides structures of the chosen model, or None."""
        parts = dict(self.divided).get(self.model)
        return next((m.entry for m in self.models if m.entry.id == parts), None)

    @property
    def chosen_classifier(self):
        """The chosen classifier's `ModelEntry`, or None."""
        return next((m.entry for m in self.classifiers if m.entry.id == self.classifier), None)

    @property
    def selected_stored(self):
        """The selected `StoredFiles`, or None."""
        return next((each for each in self.stored if each.key == self.stored_selected), None)

    @property
    def managed_entry(self):
        """The `ModelEntry` of the section Models: of the managed model, else of the chosen one."""
        named = next(
            (m.entry for m in (*self.models, *self.classifiers) if m.entry.id == self.managed), None
        )
        return named or self.chosen


def message_fields(text: str, failed: bool = False) -> dict[str, Any]:
    """The fields of the state that show a message in the section Segment. failed: with a red
    mark.
    """
    return {"message": text, "notes": (), "quality": None, "message_failed": failed}


def message_beside_result(text: str, failed: bool = False) -> dict[str, Any]:
    """Likewise, of a task that leaves the result as it is: its light and its notes stay."""
    return {"message": text, "message_failed": failed}


def without_messages(panel: Panel) -> Panel:
    """The panel without what it says about runs and without a question to the user."""
    waits = panel.state in {"failed", *AWAITING_CONSENT}
    return replace(
        panel,
        **message_fields(""),
        state="idle" if waits else panel.state,
        train_message="",
        train_failed=False,
        diagnose_message="",
        diagnose_notes=(),
        diagnose_failed=False,
    )


def without_result(panel: Panel) -> Panel:
    """The panel when the segmentation of the last run is gone: what was said of it goes, and what
    failed since then stays.
    """
    said = {} if panel.state == "failed" or panel.message_failed else message_fields("")
    return replace(panel, **said, result=None, rows=(), volumetry=None, sentences=(), inserted=())


def without_scene(panel: Panel) -> Panel:
    """The panel when the scene is closed: whatever is about its nodes goes."""
    return replace(
        without_messages(panel),
        input=None,
        further=(None,) * MOST_FURTHER,
        image_ids=(),
        images_in_input=1,
        region=None,
        height_cm=0,
        weight_kg=0,
        suggestion=NO_SUGGESTION,
        scans=0,
        result=None,
        rows=(),
        volumetry=None,
        sentences=(),
        can_restore=False,
        mapped=False,
        evidenced=False,
        history=(),
        pairs=(),
        pair_chosen=False,
        pair_selected=False,
        image=None,
        diagnosed="",
        diagnosis=(),
        heated=False,
    )
