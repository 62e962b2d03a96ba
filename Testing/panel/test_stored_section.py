"""Models and caches in the section Models: listed with sizes, and deleted after a question."""

import pytest

from Testing.panel.steps import press, start, texts


@pytest.fixture
def kept(cache):
    """A cache with fetched layers and an unfinished training."""
    for name, size in (
        ("llm/smollm2-layer3.safetensors", 3_000_000),
        ("trainings/spleen/cases/scan.nii.gz", 200_000),
    ):
        path = cache / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x" * size)
    return cache


@pytest.fixture
def panel(kept, make_panel):
    panel = make_panel()
    panel.ui.modelsCollapsibleButton.collapsed = False
    return panel


def test_what_is_kept_is_listed_with_its_size(panel, picture):
    assert texts(panel.ui.storedTable) == [
        ["Fetched layers of language models", "3.0 MB"],
        ["Unfinished trainings, with scans", "0.2 MB"],
    ]
    assert panel.ui.storedLabel.text == "Kept on this computer: 3.2 MB"
    assert not panel.ui.deleteStoredButton.enabled
    assert "Select a row" in panel.ui.deleteStoredButton.toolTip
    panel.ui.storedTable.selectRow(0)
    picture(panel, "stored", "models")


def test_it_is_deleted_after_a_question_and_not_without_a_yes(panel, kept, said):
    said["agrees"] = False
    panel.ui.storedTable.selectRow(1)
    press(panel.ui.deleteStoredButton)
    assert "with scans from disk (0.2 MB)?" in said["asked"][0]
    assert "copies of scans" in said["asked"][0]
    assert (kept / "trainings/spleen").exists()
    said["agrees"] = True
    press(panel.ui.deleteStoredButton)
    assert not (kept / "trainings/spleen").exists()
    assert (kept / "llm/smollm2-layer3.safetensors").exists()
    assert len(texts(panel.ui.storedTable)) == 1
    assert "deleted" in panel.ui.modelsLabel.text
    assert not panel.ui.deleteStoredButton.enabled


def test_what_cannot_be_deleted_is_said(panel, kept, said):
    from MedLLMSegLib.core.file_lock import try_lock

    panel.ui.storedTable.selectRow(1)
    with (kept / "trainings/spleen.lock").open("wb") as file:
        try_lock(file)
        press(panel.ui.deleteStoredButton)
    assert "In use, and not deleted: spleen" in panel.ui.modelsLabel.text
    assert (kept / "trainings/spleen").exists()


def test_nothing_is_deleted_during_a_run(panel, logic, scan):
    panel.ui.storedTable.selectRow(0)
    assert panel.ui.deleteStoredButton.enabled
    start(panel, logic)
    assert not panel.ui.deleteStoredButton.enabled
    assert "Wait" in panel.ui.deleteStoredButton.toolTip


def test_with_nothing_kept_there_is_no_table(panel, said, kept):
    for _ in range(2):
        panel.ui.storedTable.selectRow(0)
        press(panel.ui.deleteStoredButton)
    assert not panel.ui.storedTable.visible
    assert not panel.ui.deleteStoredButton.visible
