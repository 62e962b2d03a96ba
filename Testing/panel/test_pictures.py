"""The documentation's pictures of the panel, with nothing made up: the real logic, worker and model
on a real head.

They are made anew by `PANEL_DOCS=docs/images/panel python -m pytest
Testing/panel/test_pictures.py`, with the extension's screenshot, and skipped else: a whole head
takes a while.
"""

import importlib.util
import os
from pathlib import Path

import pytest

FOLDER = os.environ.get("PANEL_DOCS")
SCREENSHOT = Path(__file__).resolve().parents[2] / "MedLLMSeg/Resources/Screenshots/MedLLMSeg.png"
TEMPLATE = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
pytestmark = pytest.mark.skipif(not FOLDER, reason="PANEL_DOCS names no folder for the pictures")


@pytest.fixture
def panel(module, logic, make_panel, monkeypatch, tmp_path):
    """Over the real logic, of a user who has accepted and imported nothing."""
    import slicer

    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path))
    real = logic.real()
    monkeypatch.setattr(module, "MedLLMSegLogic", lambda: real)
    monkeypatch.setattr(slicer, "app", None)  # the worker runs in this Python, not in Slicer's
    os.makedirs(FOLDER, exist_ok=True)
    return make_panel()


@pytest.fixture
def load(module):
    def load_head():
        import slicer

        path = Path(importlib.util.find_spec("nilearn").origin).parent / TEMPLATE
        scan = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "MNI152 T1")
        storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
        storage.SetFileName(str(path))
        assert storage.ReadData(scan)

    return load_head


def test_pictures_before_a_run(panel, load, picture):
    from Testing.panel.steps import press

    picture(panel, "docs-start")
    load()
    panel.parameters.model = "hippocampus-t1"  # whose licence is asked for
    press(panel.ui.segmentButton)
    picture(panel, "docs-licence")
    panel.cleanup()
    _keep(picture, ("start", "light"), ("licence", "light"))


def test_pictures_of_a_real_run(panel, load, application, picture):
    from Testing.panel.steps import press, process

    load()
    panel.parameters.model = "brain-mr"
    press(panel.ui.segmentButton)
    process(
        application,
        lambda: panel.panel.fraction > 0.4 and panel.panel.seconds_left is not None,
        180,
    )
    picture(panel, "docs-running")
    process(application, lambda: panel.panel.state != "running", 300)
    assert len(panel.panel.rows) == 32, panel.panel.message
    picture(panel, "docs-result")
    panel.cleanup()
    _keep(picture, ("running", "dark"), ("result", "light"))
    _save([picture.folder / f"docs-result-{theme}.png" for theme in ("light", "dark")], SCREENSHOT)


def test_picture_of_all_sections(panel, load, picture):
    load()
    picture(panel, "docs-sections", "advanced", "train", "diagnose", "models", "log")
    panel.cleanup()
    _keep(picture, ("sections", "light"))


def _keep(picture, *shown):
    for name, theme in shown:
        _save([picture.folder / f"docs-{name}-{theme}.png"], Path(FOLDER) / f"{name}.png")


def _save(sources, target):
    """Pictures side by side, as a small file."""
    from PIL import Image

    images = [Image.open(path).convert("RGB") for path in sources]
    sheet = Image.new(
        "RGB",
        (
            sum(image.width for image in images) + 10 * (len(images) - 1),
            max(image.height for image in images),
        ),
        "white",
    )
    for n, image in enumerate(images):
        sheet.paste(image, (sum(each.width + 10 for each in images[:n]), 0))
    sheet.quantize(255, dither=Image.Dither.NONE).save(target, optimize=True)
