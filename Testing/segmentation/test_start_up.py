"""What a run imports. Starting costs more than a small scan, so it is what the run needs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Of the peers and of training, none is for a run. `_dynamo` is what torch compiles with.
HEAVY = (
    "monai",
    "h5py",
    "lightning",
    "lightning_fabric",
    "matplotlib",
    "nibabel",
    "pandas",
    "pydicom",
    "skimage",
    "sklearn",
    "tensorboard",
    "transformers",
    "scipy.optimize",
    "scipy.signal",
    "scipy.sparse",
    "scipy.spatial",
    "scipy.stats",
    "torch._dynamo",
)


def imported(code: str, *arguments: str) -> set[str]:
    """The heavy modules that a fresh Python has imported after some code."""
    tail = f"\nimport sys\nprint('HEAVY', *({set(HEAVY)!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code + tail, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split("HEAVY")[-1].split())


def test_the_front_door_of_segmentation_imports_nothing_heavy():
    assert imported("import MedLLMSegLib.segmentation.pipeline") == set()


def test_what_is_heavy_is_noticed():
    assert imported("import scipy.spatial") >= {"scipy.spatial"}


CROP = """
import numpy as np
from MedLLMSegLib import UserError, Volume, load_model, segment
noise = np.random.default_rng(0).random((40, 44, 32), np.float32)
model = load_model("hippocampus-t1", "cpu")
try:
    segment(Volume(noise, np.eye(4)), model)
except UserError as error:
    assert "No hippocampus" in str(error), error
"""


def test_a_crop_goes_through_the_shipped_model_with_nothing_heavy():
    assert imported(CROP) == set()


FILE = """
import sys
from MedLLMSegLib import load_model, segment
from MedLLMSegLib.io.volume_files import load_volume
result = segment(load_volume(sys.argv[1]), load_model(sys.argv[2], "cpu"))
assert result.labels.array.any()
"""


@pytest.mark.slow
def test_a_head_is_localized_and_segmented_with_nothing_heavy():
    folder = Path(importlib.util.find_spec("nilearn").origin).parent / "datasets/data"
    template = next(folder.glob("mni_icbm152_t1_*.nii.gz"))
    assert imported(FILE, str(template), "hippocampus-t1") == set()


HEART = """
import numpy as np
from MedLLMSegLib import Volume, accept_licence, load_model, segment
accept_licence("cardiac-cine-mr")
noise = np.random.default_rng(0).random((8, 160, 160), np.float32)
segment(Volume(noise, np.diag([1.5, 1.5, 8.0, 1.0])), load_model("cardiac-cine-mr", "cpu"))
"""


@pytest.mark.slow
def test_a_heart_goes_through_in_windows_with_nothing_heavy():
    assert imported(HEART) == set()
