"""The documentation's pictures of the panel, with nothing made up: the real logic, worker and model
on a real head.

They are made anew, with the extension's screenshot, by

    PANEL_DOCS=docs/images/panel env -u OMP_NUM_THREADS \\
        .venv/bin/python -m pytest Testing/panel/test_pictures.py

and skipped else: a whole head takes a while. A picture shows how long that took, so none is made
while other programs keep the processor busy.
"""

import importlib.util
import os
import time
from pathlib import Path

import pytest

FOLDER = os.environ.get("PANEL_DOCS")
SCREENSHOT = Path(__file__).resolve().parents[2] / "MedLLMSeg/Resources/Screenshots/MedLLMSeg.png"
WIDTHS, THEMES = (340, 500), ("light", "dark")  # pixels: a narrow dock, and a usual one
SECTIONS = ("advanced", "train", "diagnose", "models", "log")  # segment has a picture of its run
LONGEST_S = 900  # of a run
LOOK_S, LEAST_IDLE = 2.0, 0.9  # how long is looked who uses the processor, and what must be idle
STAT = Path("/proc/stat")  # of Linux
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
    panel = make_panel()
    panel.parameters.model = "brain-mr"  # as at the first start; other tests have another default
    return panel


@pytest.fixture
def user_model(tmp_path):
    """A model of two images of the user's own: a bundle of the tests, with untrained weights."""
    from Testing.helpers.two_channels import two_channel_bundle

    two_channel_bundle(tmp_path / "models" / "petct")


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
    picture(panel, "docs-ready")
    panel.ui.partsCheckBox.checked = True  # by hippocampus-t1, whose licence is asked for
    press(panel.ui.segmentButton)
    picture(panel, "docs-licence")
    panel.cleanup()
    _keep(picture, ("start", "light"), ("ready", "light"), ("licence", "light"))


def idle_share() -> float:
    """How much of the processor nobody uses while this process waits, 0 to 1; 1 if not known."""
    if not STAT.exists():
        return 1.0
    before = _ticks()
    time.sleep(LOOK_S)
    ticks = [after - first for after, first in zip(_ticks(), before, strict=True)]
    return (ticks[3] + ticks[4]) / sum(ticks)  # idle, and waiting for the disk


def _ticks() -> list[int]:
    return [int(text) for text in STAT.read_text().splitlines()[0].split()[1:9]]


def test_pictures_of_a_real_run(panel, load, application, picture):
    from Testing.panel.steps import press, process

    idle = idle_share()
    assert idle >= LEAST_IDLE, f"{1 - idle:.0%} of the processor is busy: the time would be wrong"
    load()
    press(panel.ui.segmentButton)
    process(
        application,
        lambda: panel.panel.fraction > 0.4 and panel.panel.seconds_left is not None,
        LONGEST_S,
    )
    picture(panel, "docs-running")
    process(application, lambda: panel.panel.state != "running", LONGEST_S)
    assert len(panel.panel.rows) == 32, panel.panel.message
    picture(panel, "docs-result")
    for width in WIDTHS:
        picture(panel, f"docs-segment-{width}", width=width, part="segmentCollapsibleButton")
    panel.cleanup()
    _keep_section(picture, "segment")
    _keep(picture, ("running", "dark"), ("result", "light"))
    _save([picture.folder / f"docs-result-{theme}.png" for theme in ("light", "dark")], SCREENSHOT)


def test_picture_of_all_sections(panel, load, picture):
    load()
    picture(panel, "docs-sections", "advanced", "train", "diagnose", "models", "log")
    panel.cleanup()
    _keep(picture, ("sections", "light"))


@pytest.mark.parametrize("section", SECTIONS)
def test_each_section_in_light_and_dark_narrow_and_wide(panel, load, picture, section):
    load()
    for width in WIDTHS:
        part = f"{section}CollapsibleButton"
        picture(panel, f"docs-{section}-{width}", section, width=width, part=part)
    panel.cleanup()
    _keep_section(picture, section)


@pytest.mark.parametrize(
    ("name", "model"), [("heart", "cardiac-cine-mr"), ("several-images", "petct")]
)
def test_what_some_models_ask_for(user_model, panel, load, picture, name, model):
    load()
    panel.parameters.model = model
    if name == "heart":
        panel.ui.heightSpinBox.value, panel.ui.weightSpinBox.value = 178, 81
    for width in WIDTHS:
        picture(panel, f"docs-{name}-{width}", width=width, part="segmentCollapsibleButton")
    panel.cleanup()
    _keep_section(picture, name)


def _keep_section(picture, section):
    """One sheet: light and dark at each width."""
    names = [f"docs-{section}-{width}-{theme}.png" for width in WIDTHS for theme in THEMES]
    _save([picture.folder / name for name in names], Path(FOLDER) / f"section-{section}.png")


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
    # few colours, and among them those of the structures, which fill few pixels
    few = sheet.quantize(255, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(target, optimize=True)
