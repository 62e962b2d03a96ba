"""Damaged lines between the worker and its owner, in both directions."""

from __future__ import annotations

import io
import json
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.worker.array_files import load_segmentation, load_volume, save_volume
from MedLLMSegLib.worker.process import Process
from MedLLMSegLib.worker.protocol import Event, decode
from MedLLMSegLib.worker.server import Server
from MedLLMSegLib.worker.tasks import Engine, Tasks

from .json_mutations import any_json
from .kind import Kind
from .mutations import any_bytes

REQUESTS: tuple[dict[str, Any], ...] = (
    {"id": 1, "do": "ping"},
    {"id": 2, "do": "cancel"},
    {"id": 3, "do": "segment", "volume": "in/volume", "output": "in/out", "device": "cpu",
     "model": "hippocampus-t1", "side": "left", "probabilities": True, "augment": 2},
    {"id": 4, "do": "diagnose", "image": "in/a.png", "output": "in/out", "view": "PA",
     "window": 1, "record": {"age": 4}, "heat_map": True, "lungs": None},
    {"id": 5, "do": "diagnose", "volumes": ["in/volume", None], "output": "in/out",
     "modality": ["CT", "MR"]},
    {"id": 6, "do": "train", "request": {"source": "in", "minutes": 1}, "output": "in/run"},
    {"do": "quit"},
)  # fmt: skip
ANSWERS: tuple[dict[str, Any], ...] = (
    {"id": None, "event": "hello", "pid": 1, "protocol": 1},
    {"id": 1, "event": "progress", "stage": "segment", "fraction": 0.5, "seconds_left": None,
     "history": [{"step": 1, "loss": 0.5}]},
    {"id": 1, "event": "log", "message": "a plan"},
    {"id": 1, "event": "result", "folder": "out"},
    {"id": 1, "event": "error", "message": "No.", "details": "", "kind": "user"},
)  # fmt: skip


class Unanswered(Exception):
    """The server or the client did something else than the protocol says."""


def _segment(volume, model, *, progress, side=None, probabilities=False, uncertainty=False,
             augment=0):  # fmt: skip
    """Only what has the right type may reach the library."""
    if not isinstance(volume, Volume) or not isinstance(side, (str, type(None))):
        raise Unanswered(f"segment was called with {volume!r}, side {side!r}")
    for value, kind in ((probabilities, bool), (uncertainty, bool), (augment, int)):
        if not isinstance(value, kind):
            raise Unanswered(f"segment was called with {value!r}")
    progress("segment", 0.5)
    return Segmentation(volume.with_array((volume.array > 9).astype(np.uint8)), ())


def _diagnose(image, model, *, progress, window=None, record=None, heat_map=True, view="",
              lungs=None):  # fmt: skip
    fits = isinstance(window, (int, type(None))) and isinstance(record, (dict, str, type(None)))
    if not fits or not isinstance(view, str) or not isinstance(heat_map, bool):
        raise Unanswered(f"diagnose was called with {window!r}, {record!r}, {view!r}, {heat_map!r}")
    raise UserError("The stand-in diagnoses nothing; take the real one.")


def _train(fields, device, progress, log):
    from MedLLMSegLib.training.segmenter.request import TrainRequest

    TrainRequest.from_message(fields)
    raise UserError("The stand-in trains nothing; take the real one.")


class _Model:
    class input:
        kind = "slices"


@cache
def _tasks() -> Tasks:
    engine = Engine(
        load=lambda name, device: _Model(),
        segment=_segment,
        train=_train,
        devices=lambda: [],
        load_classifier=lambda name, device: _Model(),
        diagnose=_diagnose,
    )
    return Tasks(engine)


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode("ascii")


def _write_lines(messages: tuple[dict[str, Any], ...], rng: Random, folder: Path) -> Path:
    lines = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        line = _line(rng.choice(messages))
        line = any_json(rng, line) if rng.random() < 0.8 else any_bytes(rng, line)
        # The outputs that a request names are made: they shall lie in the box.
        line = line.replace(b"../..", b"in/up").replace(b"/etc/passwd", b"in/passwd")
        lines.append(line.replace(b"\n", b" ") if rng.random() < 0.95 else line)
    path = folder / "lines"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def _write_requests(rng: Random, folder: Path) -> Path:
    save_volume(
        Volume(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4)), folder / "volume"
    )
    if rng.random() < 0.3:
        path = folder / "volume" / rng.choice(("array.npy", "volume.json"))
        data = path.read_bytes()
        damage = any_json if path.suffix == ".json" and rng.random() < 0.7 else any_bytes
        path.write_bytes(damage(rng, data))
    return _write_lines(REQUESTS, rng, folder)


def _read_requests(path: Path) -> object:
    """What the worker's reading thread and its main thread do, one after the other."""
    answers = io.BytesIO()
    server = Server(io.BytesIO(), answers, lambda: _tasks().engine)
    server.tasks = _tasks()
    for line in path.read_bytes().splitlines(keepends=True):
        if server._take(line):
            break
        while server._waiting:
            message = server._next()
            if message is not None:
                server._work(message)
    events = [decode(line) for line in answers.getvalue().splitlines()]
    sentences = [_checked_answer(event, path.parent) for event in events]
    if any(sentences):
        raise UserError(next(filter(None, sentences)))
    return events


def _checked_answer(event: dict[str, Any], folder: Path) -> str:
    """The sentence of an error event; "" for another. The folder of a result must be readable."""
    if event["event"] == "error":
        if event["kind"] == "unexpected" and event["id"] is not None:  # else the line is no request
            raise Unanswered(event["details"])
        return str(event["message"])
    if event["event"] == "result" and "folder" in event:
        load_segmentation(event["folder"])
        load_volume(Path(event["folder"]) / "labels")
    return ""


def _read_answers(path: Path) -> object:
    """What the client's reading thread does with what comes from the process."""
    events: list[Event] = []

    def receive(process: Process, message: dict[str, Any]) -> None:
        event = Event.from_message(message)
        if event is None:
            return
        _check_event(event)
        events.append(event)

    process = object.__new__(Process)
    process.ready, process.server_pid, process.on_message = False, None, receive
    for line in path.read_bytes().splitlines(keepends=True):
        process._take(line)
    if not isinstance(process.server_pid, (int, type(None))):
        raise Unanswered(f"the pid is {process.server_pid!r}")
    return events


def _check_event(event: Event) -> None:
    """What the panel takes for granted."""
    texts = (event.stage, event.message, event.details, event.kind)
    numbers = (event.fraction, event.seconds_left or 0.0)
    if not all(isinstance(text, str) for text in texts):
        raise Unanswered(f"no text: {texts}")
    if not all(isinstance(n, (int, float)) for n in numbers):
        raise Unanswered(f"no number: {numbers}")
    if not all(isinstance(row, dict) for row in event.history):
        raise Unanswered(f"no rows: {event.history}")
    f"{event.fraction:.0%} {event.seconds_left or 0:.0f}"


KINDS = (
    Kind("worker-requests", _write_requests, _read_requests, writes_into=("",)),
    Kind("worker-answers", lambda rng, f: _write_lines(ANSWERS, rng, f), _read_answers),
)
