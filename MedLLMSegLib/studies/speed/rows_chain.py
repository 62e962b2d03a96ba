"""Rows: whole chains of shipped models, and the command line."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import centred_grid
from MedLLMSegLib.core.types import Json, Triple
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.io.volume_files import load_volume
from MedLLMSegLib.registry.segmenter_settings import window_shape
from MedLLMSegLib.segmentation.pipeline import SegmenterModel

from . import product, rivals
from .phantoms import scan
from .resident import peak_mib
from .row import OURS, NotMeasured, Prepare, Row, Run, Setting

HIPPOCAMPUS, HEART = "hippocampus-t1", "cardiac-cine-mr"
HIPPOCAMPUS_RAS = (-26.0, -22.0, -14.0)  # the left one in the template, mm
CROP: Triple = (40, 56, 40)  # what the hippocampus network was trained on
LIBRARY = Path(__file__).resolve().parents[2]
LOOK_S = 0.02  # between two looks at another process's memory


def template() -> Path:
    """The MNI template of a head's T1, which comes with nilearn."""
    found = importlib.util.find_spec("nilearn")
    if found is None or found.origin is None:
        raise NotMeasured("the template of a head comes with nilearn, which is not installed")
    return next((Path(found.origin).parent / "datasets/data").glob("mni_icbm152_t1_*.nii.gz"))


# ---- the same network in our chain and in MONAI's ----


@lru_cache(maxsize=2)
def _model(setting: Setting, name: str, precision: str) -> SegmenterModel:
    model = product.shipped_model(name, setting.device, precision)
    return product.as_whole_scan(model, CROP, 1.0) if name == HIPPOCAMPUS else model


@lru_cache(maxsize=1)
def _scan(setting: Setting, name: str) -> Volume:
    if name == HEART:
        return scan((10, 256, 216), (100.0, 384.0, 324.0))
    head, n = template_head(), setting.pick(72, 48)
    around = centred_grid(HIPPOCAMPUS_RAS, (n, n, n), 1.0)
    return Volume(product.resample(head.array, head.grid, around), around.ijk_to_ras, "crop")


def _our_chain(name: str, precision: str | None) -> Prepare:
    """precision: None for the fast one of this processor."""

    def prepare(setting: Setting) -> Run:
        chosen = precision or product.fast_precision()
        model, volume = _model(setting, name, chosen), _scan(setting, name)
        return Run(lambda: product.run_model(model, volume).labels.array)

    return prepare


def _monai_chain(name: str) -> Prepare:
    def prepare(setting: Setting) -> Run:
        model, volume = _model(setting, name, "fp32"), _scan(setting, name)
        settings = model.settings
        return Run(
            rivals.monai_chain(
                model.network, volume, settings["spacing_mm"], window_shape(settings), model.device
            )
        )

    return prepare


def _chain(name: str, title: str) -> Row:
    return Row(
        f"chain-{name}",
        title,
        {
            OURS: _our_chain(name, None),
            "ours, fp32": _our_chain(name, "fp32"),
            "MONAI, fp32": _monai_chain(name),
        },
        aim="0.5 of MONAI's chain, bf16 where the processor has it",
        facts=lambda setting: _agreement(setting, name),
        rounds=2,
        cuda=True,
    )


def _agreement(setting: Setting, name: str) -> Json:
    ours = np.asarray(_our_chain(name, None)(setting).call())
    theirs = np.asarray(_monai_chain(name)(setting).call())
    return {
        "precision": product.fast_precision(),
        "voxels other than MONAI's": int((ours != theirs).sum()),
        "voxels": int(ours.size),
        "of a structure": int((theirs > 0).sum()),
    }


# ---- a head, warm and from the command line ----


@lru_cache(maxsize=1)
def template_head() -> Volume:
    """The head of the template."""
    return load_volume(template())


def _warm(setting: Setting) -> Run:
    model, head = product.shipped_model(HIPPOCAMPUS, setting.device), template_head()
    return Run(lambda: product.run_model(model, head))


def _networks(setting: Setting) -> Run:
    model = product.shipped_model(HIPPOCAMPUS, setting.device)
    return Run(product.networks_alone(model, template_head()))


def _command_line(setting: Setting) -> Run:
    head = template()

    def run() -> float:
        with tempfile.TemporaryDirectory() as folder:
            words = ["-m", "MedLLMSegLib", "segment", str(head), "--output", f"{folder}/a.nii.gz"]
            return _peak_of([sys.executable, *words, "--device", setting.device])

    return _process_run(run)


def _python(code: str) -> Prepare:
    return lambda setting: _process_run(lambda: _peak_of([sys.executable, "-c", code]))


def _process_run(run: Callable[[], float]) -> Run:
    """A run that is a process of its own, whose peak is what ``run`` returns."""
    peaks = [0.0]

    def call() -> None:
        peaks[0] = run()

    return Run(call, other_peak_mib=lambda: peaks[0])


def _peak_of(command: list[str]) -> float:
    """Run a command; its peak of resident memory in MiB (0 where it is not known)."""
    paths = [str(LIBRARY), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(command, stdout=words, stderr=words, env=environment)
        peak = 0.0
        while process.poll() is None:
            with suppress(NotMeasured):  # it has just ended, or this system does not tell
                peak = max(peak, peak_mib(process.pid))
            time.sleep(LOOK_S)
        if process.returncode:
            words.seek(0)
            last = words.read().decode("utf-8", "replace").strip().splitlines()[-1:]
            raise UserError(f"A command of the bench failed ({' '.join(last)}); run it by itself.")
    return peak


HEAD = Row(
    "head",
    "both hippocampi of the MNI template",
    {
        OURS: _warm,
        "networks alone": _networks,
        "command line": _command_line,
        "import torch": _python("import torch"),
        "import the pipeline": _python("import MedLLMSegLib.segmentation.pipeline"),
    },
    aim="ours 2 s; command line: import of torch and 3 s",
    cuda=True,
)
ROWS = (
    _chain(HIPPOCAMPUS, "hippocampus network in windows over 72^3: whole chain"),
    _chain(HEART, "heart, 10 x 256 x 216: whole chain"),
    HEAD,
)
