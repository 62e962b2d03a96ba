"""The documentation's pictures of the panel, with nothing made up: the real logic, worker and model on a real head.

They are made anew by `PANEL_DOCS=docs/images/panel python -m pytest Testing/panel/test_pictures.py`, and skipped else: a
whole head takes a while.
"""
import importlib.util
import os
from pathlib import Path

import pytest

FOLDER = os.environ.get("PANEL_DOCS")
TEMPLATE = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"


@pytest.mark.skipif(not FOLDER, reason="PANEL_DOCS names no folder for the pictures")
def test_pictures_of_a_real_run(module, logic, make_panel, application, monkeypatch, picture):
    import slicer
    from PIL import Image
    from panel.test_panel import press, process

    real = logic.real()
    monkeypatch.setattr(module, "MedLLMSegLogic", lambda: real)
    monkeypatch.setattr(slicer, "app", None)  # the worker runs in this Python, not in Slicer's
    panel = make_panel()
    path = Path(importlib.util.find_spec("nilearn").origin).parent / TEMPLATE
    storage, scan = slicer.vtkMRMLVolumeArchetypeStorageNode(), slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "MNI152 T1")
    storage.SetFileName(str(path))
    assert storage.ReadData(scan)
    picture(panel, "docs-start")
    press(panel.ui.segmentButton)
    process(application, lambda: panel.panel.fraction > 0.4 and panel.panel.seconds_left is not None, 120)
    picture(panel, "docs-running")
    process(application, lambda: panel.panel.state != "running", 300)
    assert len(panel.panel.rows) == 4, panel.panel.message
    picture(panel, "docs-result")
    panel.cleanup()
    os.makedirs(FOLDER, exist_ok=True)
    for name, theme in (("start", "light"), ("running", "dark"), ("result", "light")):
        image = Image.open(picture.folder / f"docs-{name}-{theme}.png").convert("RGB").quantize(255, dither=Image.Dither.NONE)
        image.save(Path(FOLDER) / f"{name}.png", optimize=True)
