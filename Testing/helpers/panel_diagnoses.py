"""What the tests of diagnose share."""

from pathlib import Path

from MedLLMSegLib.registry.catalogue import ModelEntry
from MedLLMSegLib.registry.memory_estimate import ModelChoice
from Testing.panel.steps import press

ROOT = Path(__file__).resolve().parents[2]
RESULT = (("no finding", 0.22, None, False), ("pneumonia", 0.78, 0.41, True))


def classifier_choice(name="cxr-pneumonia", ask=False):
    entry = ModelEntry(
        name,
        "Pneumonia or no finding in chest X-rays",
        "classifier",
        "X-ray",
        (),
        "CC-BY-NC-4.0" if ask else "Apache-2.0",
        "AUC 0.81 on 100 test patients (a figure for this test alone)",
        "0" * 64,
        ROOT / "nowhere" / name,
        ask,
        4.1,
        ("no finding", "pneumonia"),
    )
    return ModelChoice(entry, True, "needs about 0.9 GB of memory, this computer has 12.4 GB free")


def begin_diagnosis(panel, logic):
    press(panel.ui.diagnoseButton)
    return logic.job


def end_diagnosis(job, table, rows=RESULT, **more):
    job.end("done", tableNode=table, rows=rows, **more)
