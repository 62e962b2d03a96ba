"""What Copy details copies: versions and the error, and nothing that tells who the patient is."""

import platform
import traceback
from dataclasses import replace

import numpy
import pytest

from MedLLMSegLib.core.version import __version__
from MedLLMSegLib.slicer_bridge.presenter.error_details import details_text, failure_of
from MedLLMSegLib.slicer_bridge.presenter.private_text import REMOVED, without_private_data
from Testing.helpers.panel_states import READY, widget_properties

NAME = "Quintessa^Vanderzee"
# every way in which a patient's name, number or file came into an error's text
LEAKS = [
    'No hippocampus was found in "Quintessa Vanderzee T1"; check that it is a T1 MRI.',
    "ValueError: could not read 'Quintessa Vanderzee'",
    "RuntimeError: ITK ERROR: cannot open /data/Quintessa Vanderzee/scan.nii for reading",
    "OSError: C:\\Patients\\Quintessa Vanderzee\\scan.nii",
    "OSError: \\\\server\\Quintessa Vanderzee",
    "KeyError: Quintessa^Vanderzee",
    "Warning: patient QUINTESSA, born 19500102",
    "pydicom: no pixels in 1.2.826.0.1.3680043.8.498.1",
    '  File "/home/vanderzee/Quintessa.py", line 3, in quintessa',
    '    segment("/data/Quintessa Vanderzee.nii")',
    "Traceback\nKeyError: 'quintessa_vanderzee'",
    "FileNotFoundError: ~/Quintessa/x",
]


@pytest.mark.parametrize("text", LEAKS)
def test_no_patient_and_no_file_is_named(text):
    clean = without_private_data(text, ["Quintessa Vanderzee T1"])
    for secret in ("quintessa", "vanderzee", "19500102", "826.0.1", "patients", "server"):
        assert secret not in clean.lower()


@pytest.mark.parametrize(
    "text",
    [
        "The worker stopped (killed, or out of memory); press Segment again.",
        "RuntimeError: mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)",
        "torch 2.13.0 on 1/2 of the cores, 12.5 GB free",
        "The left hippocampus isn't whole, and neither is the scan's right one.",
    ],
)
def test_what_names_nobody_stays(text):
    assert without_private_data(text, ["MRHead", "CT of today", "ab"]) == text


def test_a_traceback_keeps_where_it_happened_and_no_line_of_source():
    clean = without_private_data(
        "Traceback (most recent call last):\n"
        '  File "/opt/Slicer/lib/MedLLMSegLib/slicer_bridge/panel/log_section.py", line 7, in say\n'
        "    self.widget.log.sentence(error)\n"
        "    ^^^^^^^^^^^^^^^\n"
        '  File "C:\\Slicer\\lib\\site-packages\\torch\\nn.py", line 9, in forward\n'
        '  File "/home/me/quintessa.py", line 1, in <module>\n'
        "    Quintessa.sentence()\n"
        "AttributeError: 'NoneType' object has no attribute 'sentence' of 'Quintessa'\n",
        [],
    )
    assert clean.splitlines() == [
        "Traceback (most recent call last):",
        "  MedLLMSegLib/slicer_bridge/panel/log_section.py, line 7, in say",
        "  site-packages/torch/nn.py, line 9, in forward",
        f"  {REMOVED}, line 1",
        f"AttributeError: 'NoneType' object has no attribute 'sentence' of \"{REMOVED}\"",
    ]


def failed(error, **fields):
    try:
        raise error
    except Exception as raised:
        details = "".join(traceback.format_exception(raised))
    failure = failure_of(str(error), details, "segment", ["Quintessa Vanderzee"])
    return replace(READY, failure=failure, **fields)


def test_versions_device_model_message_and_traceback_are_copied():
    sentence = "Quintessa is too large for 3.5 GB."
    text = details_text(failed(ValueError(sentence)), "5.13.0, revision 34000", "NVIDIA H200")
    facts = dict(line.split(None, 1) for line in text.splitlines()[:11])
    assert facts["MedLLMSeg"] == __version__
    assert facts["Slicer"] == "5.13.0, revision 34000"
    assert facts["Python"] == platform.python_version()
    assert facts["numpy"] == numpy.__version__
    assert facts["device"] == "NVIDIA H200"
    assert facts["model"].startswith("hippocampus-t1, sha256")
    assert facts["task"] == "segment"
    assert f"\n{REMOVED} is too large for 3.5 GB.\n" in text
    assert "Traceback (most recent call last)" in text
    assert f"ValueError: {REMOVED} is too large" in text


def test_a_model_of_the_users_own_is_not_named():
    panel = failed(ValueError("x"), own=frozenset([READY.model]))
    text = details_text(panel, "", "")
    assert READY.model not in text
    assert "one of the user's own" in text


def test_without_an_error_there_is_still_what_a_report_needs():
    assert "torch" in details_text(READY, "5.13", "")


def test_it_is_offered_below_the_error_and_gone_with_it():
    panel = failed(ValueError("It broke."), state="failed", message="It broke.")
    assert widget_properties(panel, "copyDetailsButton").visible
    assert not widget_properties(panel, "trainCopyDetailsButton").visible
    assert not widget_properties(panel, "diagnoseCopyDetailsButton").visible
    assert not widget_properties(READY, "copyDetailsButton").visible
    assert not widget_properties(replace(panel, message="Done."), "copyDetailsButton").visible
    in_training = replace(panel, message="", train_message="It broke. It can go on.")
    assert widget_properties(in_training, "trainCopyDetailsButton").visible
    in_models = replace(panel, message="", models_message="It broke.")
    assert widget_properties(in_models, "modelsCopyDetailsButton").visible
