"""What the tests of the panel do over and over."""

import sys
import time

from MedLLMSegLib.slicer_bridge.install import packages as install

ROWS = (
    ("Left hippocampus (anterior)", 1.532, 0.913),
    ("Left hippocampus (posterior)", 1.321, 0.897),
    ("Right hippocampus (anterior)", 1.604, 0.921),
    ("Right hippocampus (posterior)", 1.287, float("nan")),
)
PACKAGES = tuple(
    map(
        str,
        (
            install.MissingPackage("torch", ">=2.8"),
            install.MissingPackage("safetensors", ""),
            install.MissingPackage("einops", ""),
        ),
    )
)
HISTORY = [{"step": 10 * n, "loss": round(1.4 / n**0.7, 3)} for n in range(1, 9)] + [
    {"step": 40, "val_dice": 0.61},
    {"step": 80, "val_dice": 0.74},
]


def names_of(part):
    """What a file of the panel imports, to put something else in its place."""
    return vars(sys.modules[f"MedLLMSegLib.slicer_bridge.panel.{part}"])


def press(button):
    assert button.enabled, button.toolTip
    assert button.visible, button.toolTip
    button.click()


def process(application, until=lambda: True, seconds=5.0):
    end = time.monotonic() + seconds
    application.processEvents()
    while not until() and time.monotonic() < end:
        time.sleep(0.01)
        application.processEvents()
    assert until()


def texts(table):
    return [
        [table.item(row, column).text() for column in range(table.columnCount)]
        for row in range(table.rowCount)
    ]


def start(panel, logic):
    press(panel.ui.segmentButton)
    return logic.job


def finish(logic, node, **more):
    logic.job.end("done", segmentationNode=node, rows=ROWS, **more)
