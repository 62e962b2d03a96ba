"""What each request does. When a request's turn comes, and what becomes of errors, is the server's
business.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from MedLLMSegLib.core.progress import Report
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.core.version import __version__
from MedLLMSegLib.engines.engine_names import TORCH
from MedLLMSegLib.registry.catalogue import (
    DEFAULT_CLASSIFIER,
    DEFAULT_SEGMENTER,
    METADATA,
    find_model,
    measured_model,
    read_metadata,
)

from .array_files import load_volume, save_diagnosis, save_explanation, save_segmentation
from .training_history import TrainingHistory

if TYPE_CHECKING:
    from MedLLMSegLib.core.volume import Volume
    from MedLLMSegLib.segmentation.explanation.explain import Explanation
    from MedLLMSegLib.segmentation.loaded_segmenter import SegmenterModel
    from MedLLMSegLib.segmentation.region import Region

MODELS_KEPT = 2  # models that stay loaded
SEGMENT_OPTIONS = ("side", "probabilities", "uncertainty", "augment", "precision", "structures")
DIAGNOSE_OPTIONS = ("window", "record", "heat_map", "view")


class TaskProgress(Protocol):
    """What a task reports to: `request_progress.RequestProgress`."""

    def __call__(self, stage: str, fraction: float, history: Sequence[Json] = ()) -> None: ...

    def log(self, text: str) -> None: ...

    def check(self) -> None: ...


def _missing(*arguments: Any) -> Any:
    raise NotImplementedError("this engine does something else")


@dataclass(frozen=True)
class Engine:
    """The functions that do the work: the library's, or a test's.

    load: (name, device) -> a segmentation model; with engine="openvino" or "onnx" one that runs
        there.
    segment: as `MedLLMSegLib.segment`, with a loaded model.
    train: (fields of a `TrainRequest`, device, progress, log) -> the bundle's folder.
    devices: () -> what there is to compute on, as `compute_devices`.
    load_classifier: (name, device) -> a classifier.
    diagnose: as `MedLLMSegLib.diagnose`, with a loaded model.
    explain: (scan, loaded segmentation model, progress, structure) -> as `MedLLMSegLib.explain`.
    """

    load: Callable[..., Any]
    segment: Callable[..., Any]
    train: Callable[[Json, str, Report, Callable[[str], None]], Path]
    devices: Callable[[], list[Json]]
    load_classifier: Callable[[str, str], Any] = _missing
    diagnose: Callable[..., Any] = _missing
    explain: Callable[..., Any] = _missing


def library_engine() -> Engine:
    """The library's own functions. Imports torch, which takes seconds."""
    from MedLLMSegLib.diagnosis.loaded_classifier import load_classifier
    from MedLLMSegLib.diagnosis.predict import diagnose
    from MedLLMSegLib.segmentation.explanation.explain import explain
    from MedLLMSegLib.segmentation.pipeline import load_model, segment

    def explain_structure(
        scan: Volume, model: SegmenterModel, *, progress: TaskProgress, structure: str
    ) -> Explanation:
        return explain(scan, structure, model, progress=progress)

    return Engine(
        load_model,
        _heard_inside(segment),
        _train,
        compute_devices,
        load_classifier,
        _heard_inside(diagnose),
        _heard_inside(explain_structure),
    )


def _heard_inside(work: Callable[..., Any]) -> Callable[..., Any]:
    """A function of the library's that is stopped between two layers of a network, too."""
    from MedLLMSegLib.segmentation.layer_progress import before_layers

    def do(subject: Any, model: Any, *, progress: TaskProgress, **options: Any) -> Any:
        with before_layers(lambda _layer: progress.check()):
            return work(subject, model, progress=progress, **options)

    return do


def _region(corners_ras: Sequence[Sequence[float]]) -> Region:
    from MedLLMSegLib.segmentation.region import Region

    return Region(tuple((float(x), float(y), float(z)) for x, y, z in corners_ras))


class Tasks:
    """One method for each kind of request: (message, progress) -> the fields of its result.

    progress raises `Cancelled` when the request was cancelled. notes: sentences for the user that
    the first result carries.
    """

    def __init__(self, engine: Engine, notes: tuple[str, ...] = ()) -> None:
        self.engine = engine
        self.notes = notes
        self.models: OrderedDict[tuple[Any, ...], Any] = OrderedDict()  # the last used one is last

    def segment(self, message: Json, progress: TaskProgress) -> Json:
        """Volume and segmentation travel as files, each in a folder that the message names.

        "further": the other images of the patient, for a model that takes several. "region": the
        corners of the box (8, 3) that is searched, RAS mm.
        """
        progress("read", 0.0)
        volume: Any = load_volume(message["volume"], mapped=True)
        if message.get("further"):
            volume = [volume, *(load_volume(place, mapped=True) for place in message["further"])]
        progress("load", 0.0)
        device, engine = message.get("device", "auto"), message.get("engine", TORCH)
        model = self.model(message.get("model", DEFAULT_SEGMENTER), device, engine=engine)
        options = {name: message[name] for name in SEGMENT_OPTIONS if name in message}
        if message.get("with_model"):  # it stays loaded, too
            options["with_model"] = self.model(message["with_model"], device, engine=engine)
        if message.get("region"):
            options["region"] = _region(message["region"])
        result = self.engine.segment(volume, model, progress=progress, **options)
        progress("write", 1.0)
        return {"folder": str(save_segmentation(self._noted(result), message["output"]))}

    def explain(self, message: Json, progress: TaskProgress) -> Json:
        """Volume and map travel as files, each in a folder that the message names."""
        progress("read", 0.0)
        volume = load_volume(message["volume"], mapped=True)
        progress("load", 0.0)
        model = self.model(message.get("model", DEFAULT_SEGMENTER), message.get("device", "auto"))
        structure = message["structure"]
        result = self.engine.explain(volume, model, progress=progress, structure=structure)
        progress("write", 1.0)
        return {"folder": str(save_explanation(self._noted(result), message["output"]))}

    def model(self, name: str, device: str, kind: str = "segmenter", engine: str = TORCH) -> Any:
        """A loaded model: one that is kept, or a new one, for which the one not used for longest
        makes room. engine: that runs a segmenter's networks.
        """
        entry = find_model(name, kind)
        # Settings may change while the weights stay the same, and so may the localizer; the texts
        # of a model are shown as they are now.
        measured = measured_model(read_metadata(entry.folder)).sha256
        changed_ns = (entry.folder / METADATA).stat().st_mtime_ns
        key = (entry.id, measured, str(entry.folder), changed_ns, device, engine)
        if key not in self.models:
            while len(self.models) >= MODELS_KEPT:
                self.models.popitem(last=False)
            load = self.engine.load_classifier if kind == "classifier" else self.engine.load
            model = load(name, device, **({} if engine == TORCH else {"engine": engine}))
            if getattr(model, "notes", ()):  # it did not fit its device; the next time it may
                return model
            self.models[key] = model
        self.models.move_to_end(key)
        return self.models[key]

    def train(self, message: Json, progress: TaskProgress) -> Json:
        """Cancelled or killed, it goes on from its last checkpoint when the same is requested
        again.
        """
        self.models.clear()  # training needs the memory more
        fields = {**message["request"], "output": message["output"]}
        history = TrainingHistory(message["output"])

        def report(text: str, fraction: float) -> None:
            progress(text, fraction, history.new_rows())

        device = message.get("device", "auto")
        bundle = self.engine.train(fields, device, report, progress.log)
        progress("done", 1.0, history.new_rows())
        return {"bundle": str(bundle)}

    def diagnose(self, message: Json, progress: TaskProgress) -> Json:
        """An image file is read here. Volumes travel as files, and so does the heat map."""
        progress("load", 0.0)
        name, device = message.get("model", DEFAULT_CLASSIFIER), message.get("device", "auto")
        model = self.model(name, device, "classifier")
        progress("read", 0.0)
        image = message.get("image") or _images(message, model.input)
        options = {
            name: message[name] for name in DIAGNOSE_OPTIONS if message.get(name) not in (None, "")
        }
        if message.get("lungs"):
            options["lungs"] = _volume_or_path(message["lungs"])
        result = self.engine.diagnose(image, model, progress=progress, **options)
        progress("write", 1.0)
        return {"folder": str(save_diagnosis(self._noted(result), message["output"]))}

    def _noted(self, result: Any) -> Any:
        """A result with the notes that no result before it had."""
        notes, self.notes = self.notes, ()
        return replace(result, notes=(*result.notes, *notes)) if notes else result

    def ping(self, message: Json, progress: TaskProgress) -> Json:
        """Says that the packages are loaded and the worker is free, and what it can compute on."""
        return {"pid": os.getpid(), "version": __version__, "devices": self.engine.devices()}


def _volume_or_path(place: str | None) -> Any:
    """The volume of a folder; the path of a file, and None, as they are."""
    return load_volume(place, mapped=True) if place and Path(place).is_dir() else place


def _images(message: Json, expected_input: Any) -> Any:
    """The images of a diagnosis: one, or a list in order. Radiographs carry their modality.

    expected_input: the model's `InputConfig`.
    """
    places = message["volumes"]
    images = [_volume_or_path(place) for place in places]
    if expected_input.kind == "radiograph":
        from MedLLMSegLib.core.volume import Volume
        from MedLLMSegLib.io.radiograph import radiograph_of

        modality = message.get("modality") or ""
        modalities = [modality] * len(places) if isinstance(modality, str) else modality
        for n, (image, stated) in enumerate(zip(images, modalities, strict=True)):
            if isinstance(image, Volume):  # neither a file nor a missing channel
                ct = expected_input.of_channel(n).ct
                images[n] = radiograph_of(image, modality=stated, ct=ct)
    return images[0] if len(images) == 1 else images


def _train(fields: Json, device: str, progress: Report, log: Callable[[str], None]) -> Path:
    from MedLLMSegLib.training.segmenter.request import TrainRequest
    from MedLLMSegLib.training.segmenter.segmenter_session import train_model

    request = TrainRequest.from_message(fields)
    return train_model(request, device, progress, log)


def compute_devices() -> list[Json]:
    """[{"name", "title", "memory_gb" (None: not known)}], first the one that "auto" takes."""
    import torch

    devices: list[Json] = []
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_properties(0)
        memory_gb = round(gpu.total_memory / 2**30, 1)
        devices.append({"name": "cuda", "title": gpu.name, "memory_gb": memory_gb})
    if torch.backends.mps.is_available():
        devices.append({"name": "mps", "title": "Apple GPU", "memory_gb": None})
    threads = f"{torch.get_num_threads()} threads"
    return [*devices, {"name": "cpu", "title": threads, "memory_gb": None}]
