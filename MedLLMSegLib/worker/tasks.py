"""What each request does, one at a time. When it is its turn, and what becomes of errors, is the
server's business.
"""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MedLLMSegLib.core.version import __version__
from MedLLMSegLib.registry.catalogue import (
    DEFAULT_CLASSIFIER,
    DEFAULT_SEGMENTER,
    METADATA,
    find_model,
)

from .protocol import load_volume, save_diagnosis, save_segmentation

KEPT = 2  # models that stay loaded


@dataclass(frozen=True)
class Engine:
    """The functions that do the work: the library's, or a test's.

    load: (name, device) -> model. segment: as `MedLLMSegLib.segment`, with a loaded model. train:
    (fields of a `TrainRequest`, device, progress, say) -> folder of the bundle. devices: () -> what
    there is to compute on. load_classifier: (name, device) -> model. diagnose: as
    `MedLLMSegLib.diagnose`, with a loaded model.
    """

    load: Callable[[str, str], Any]
    segment: Callable
    train: Callable
    devices: Callable[[], list[dict]]
    load_classifier: Callable[[str, str], Any] | None = None
    diagnose: Callable | None = None


def library_engine() -> Engine:
    """The library's own. Imports torch, which takes seconds."""
    from MedLLMSegLib.diagnosis.loaded_classifier import load_classifier
    from MedLLMSegLib.diagnosis.predict import diagnose
    from MedLLMSegLib.segmentation.pipeline import load_model, segment

    return Engine(load_model, segment, _train, _devices, load_classifier, diagnose)


class Tasks:
    """One method for each thing to do: (message, report) -> what is answered.

    report: called with (stage, fraction); raises `Cancelled` when the request was cancelled. It has
    a ``log``, too.
    """

    def __init__(self, engine: Engine):
        self.engine = engine
        self.models: OrderedDict[tuple, Any] = OrderedDict()  # the one used last is last

    def segment(self, message: dict, report) -> dict:
        """Volume and segmentation travel as files; a path that the message names is that of a
        folder.
        """
        report("read", 0.0)
        volume = load_volume(message["volume"])
        report("load", 0.0)
        model = self.model(message.get("model", DEFAULT_SEGMENTER), message.get("device", "auto"))
        options = {
            name: message[name]
            for name in ("side", "probabilities", "uncertainty", "augment")
            if name in message
        }
        result = self.engine.segment(volume, model, progress=report, **options)
        report("write", 1.0)
        return {"folder": str(save_segmentation(result, message["output"]))}

    def model(self, name: str, device: str, kind: str = "segmenter"):
        """A model that is loaded already, or loaded now; the one not used for longest makes
        room.
        """
        entry = find_model(name, kind)
        changed = (
            (entry.folder / METADATA).stat().st_mtime_ns
        )  # settings may change with the same weights
        key = (entry.id, entry.sha256, str(entry.folder), changed, device)
        if key not in self.models:
            while len(self.models) >= KEPT:
                self.models.popitem(last=False)
            model = (self.engine.load_classifier if kind == "classifier" else self.engine.load)(
                name, device
            )
            if getattr(model, "notes", ()):  # it did not fit where it was wanted; next time it may
                return model
            self.models[key] = model
        self.models.move_to_end(key)
        return self.models[key]

    def train(self, message: dict, report) -> dict:
        """Cancelled or killed, it goes on from its last checkpoint when the same is asked for
        again.
        """
        self.models.clear()  # a training needs the memory more
        fields = {**message["request"], "output": message["output"]}
        history = History(message["output"])
        bundle = self.engine.train(
            fields,
            message.get("device", "auto"),
            lambda text, fraction: report(text, fraction, history.new_rows()),
            report.log,
        )
        report("done", 1.0, history.new_rows())
        return {"bundle": str(bundle)}

    def diagnose(self, message: dict, report) -> dict:
        """A file is read here; volumes travel as files, like the heat map on its way back."""
        report("load", 0.0)
        model = self.model(
            message.get("model", DEFAULT_CLASSIFIER), message.get("device", "auto"), "classifier"
        )
        report("read", 0.0)
        image = message.get("image") or _images(message, model.input)
        options = {
            name: message[name]
            for name in ("window", "record", "heat_map", "view")
            if message.get(name) not in (None, "")
        }
        if message.get("lungs"):
            options["lungs"] = (
                load_volume(message["lungs"])
                if Path(message["lungs"]).is_dir()
                else message["lungs"]
            )
        result = self.engine.diagnose(image, model, progress=report, **options)
        report("write", 1.0)
        return {"folder": str(save_diagnosis(result, message["output"]))}

    def ping(self, message: dict, report) -> dict:
        """That the packages are loaded and the worker is free; and what it can compute on."""
        return {"pid": os.getpid(), "version": __version__, "devices": self.engine.devices()}


class History:
    """The rows of a training's history.json, each told once."""

    def __init__(self, folder):
        self.path, self.stamp, self.told = Path(folder) / "history.json", None, set()

    def new_rows(self) -> list[dict]:
        """Rows such as {"step", "loss", "lr", "seconds"} and {"step", "val_dice"} that were not
        there the last time.
        """
        try:
            stamp = self.path.stat().st_mtime_ns
            rows = json.loads(self.path.read_text(encoding="utf-8")) if stamp != self.stamp else []
        except (OSError, ValueError):  # not there yet
            return []
        self.stamp = stamp
        fresh = [row for row in rows if (row["step"], "val_dice" in row) not in self.told]
        self.told |= {(row["step"], "val_dice" in row) for row in fresh}
        return fresh


def _images(message: dict, asked):
    """The volumes of a diagnosis: one, or several in order; flat images with what is known of
    them. asked: what the model is shown.
    """
    volumes = [
        load_volume(place) if place and Path(place).is_dir() else place
        for place in message["volumes"]
    ]
    if asked.kind == "radiograph":
        from MedLLMSegLib.io.radiograph import radiograph_of

        stated = message.get("modality") or ""
        modalities = [stated] * len(volumes) if isinstance(stated, str) else stated
        volumes = [
            (
                radiograph_of(each, modality=modality, ct=asked.of_channel(n).ct)
                if place and Path(place).is_dir()
                else each
            )  # a file, or a channel that is missing
            for n, (place, each, modality) in enumerate(
                zip(message["volumes"], volumes, modalities)
            )
        ]
    return volumes[0] if len(volumes) == 1 else volumes


def _train(fields: dict, device: str, progress, say) -> Path:
    from MedLLMSegLib.training.segmenter.request import TrainRequest
    from MedLLMSegLib.training.segmenter.segmenter_session import train_model

    window = fields.get("window")
    return train_model(
        TrainRequest(**{**fields, "window": tuple(window) if window else None}),
        device,
        progress,
        say,
    )


def _devices() -> list[dict]:
    """[{"name", "title", "memory_gb" (None: not known)}], the one that "auto" takes first."""
    import torch

    found = [{"name": "cpu", "title": f"{torch.get_num_threads()} threads", "memory_gb": None}]
    if torch.backends.mps.is_available():
        found.insert(0, {"name": "mps", "title": "Apple GPU", "memory_gb": None})
    if torch.cuda.is_available():
        about = torch.cuda.get_device_properties(0)
        found.insert(
            0,
            {
                "name": "cuda",
                "title": about.name,
                "memory_gb": round(about.total_memory / 2**30, 1),
            },
        )
    return found
