"""A bundle of version 0.3 is told by its text, named to the user, and written anew on request."""

import json
import shutil

import pytest

import MedLLMSegLib
from MedLLMSegLib.cli import main as cli
from MedLLMSegLib.registry.catalogue import BUNDLES, INFERENCE, METADATA, WEIGHTS, model_entry
from MedLLMSegLib.registry.old_bundles import MODULES_OF_0_3, names_modules_of_0_3, old_bundle_note

SHIPPED = sorted(path.name for path in BUNDLES.iterdir() if (path / METADATA).is_file())
NAMES_IN_0_3 = {
    "MedLLMSegLib.monai_bundle.segmenter_runner": "MedLLMSegLib.monai_runner",
    "MedLLMSegLib.monai_bundle.classifier_runner": "MedLLMSegLib.monai_classifier",
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def old_bundle(cache):
    """old_bundle(shipped) -> one of the user's models, "mine", as version 0.3 wrote it."""

    def write(shipped):
        folder = shutil.copytree(BUNDLES / shipped, cache / "models" / "mine")
        metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
        (folder / METADATA).write_text(json.dumps({**metadata, "id": "mine"}), encoding="utf-8")
        text = (folder / INFERENCE).read_text(encoding="utf-8")
        for name, old_name in NAMES_IN_0_3.items():
            text = text.replace(name, old_name)
        (folder / INFERENCE).write_text(text, encoding="utf-8")
        return folder

    return write


@pytest.mark.parametrize("shipped", ("hippocampus-t1", "cxr-pneumonia"))
def test_a_bundle_of_0_3_is_told_by_its_text(shipped, old_bundle):
    folder = old_bundle(shipped)
    assert names_modules_of_0_3(folder)
    note = old_bundle_note(model_entry(folder))
    assert note == (
        'the MONAI configuration of "mine" is of version 0.3;'
        f' `medllmseg bundle "{folder}"` writes it anew'
    )


@pytest.mark.parametrize("shipped", SHIPPED)
def test_no_shipped_bundle_is_old(shipped):
    assert not names_modules_of_0_3(BUNDLES / shipped)
    assert old_bundle_note(model_entry(BUNDLES / shipped)) == ""


@pytest.mark.parametrize(
    "content",
    (
        None,
        b"\xff\xfe\x00",
        b"{",
        b'{"run": "MedLLMSegLib.monai_runners"}',
        b'{"run": "MyMedLLMSegLib.monai_runner"}',
    ),
    ids=("no file", "no text", "no JSON", "a longer name", "another package"),
)
def test_other_files_name_no_old_module(content, old_bundle):
    folder = old_bundle("hippocampus-t1")
    if content is None:
        (folder / INFERENCE).unlink()
    else:
        (folder / INFERENCE).write_bytes(content)
    assert not names_modules_of_0_3(folder)


def test_the_file_is_never_evaluated(old_bundle, tmp_path):
    folder = old_bundle("hippocampus-t1")
    trap = f"$open({str(tmp_path / 'evaluated')!r}, 'w')"
    config = {"imports": [trap], "network_def": "MedLLMSegLib.monai_runner.load_network"}
    (folder / INFERENCE).write_text(json.dumps(config), encoding="utf-8")
    assert names_modules_of_0_3(folder)
    assert not (tmp_path / "evaluated").exists()


def test_the_models_are_listed_with_a_sentence_for_the_old_one_alone(old_bundle, capsys):
    old_bundle("hippocampus-t1")
    assert cli.main(["models"]) == 0
    listed = capsys.readouterr().out
    assert listed.count("is of version 0.3") == 1
    assert 'the MONAI configuration of "mine"' in listed


@pytest.mark.parametrize("shipped", ("hippocampus-t1", "cxr-pneumonia"))
def test_the_bundle_command_writes_new_names_and_leaves_the_weights(shipped, old_bundle, capsys):
    folder = old_bundle(shipped)
    weights = (folder / WEIGHTS).read_bytes()
    sha256 = model_entry(folder).sha256
    assert cli.main(["bundle", str(folder)]) == 0, capsys.readouterr().err
    assert not names_modules_of_0_3(folder)
    assert any(name in (folder / INFERENCE).read_text(encoding="utf-8") for name in NAMES_IN_0_3)
    assert (folder / WEIGHTS).read_bytes() == weights
    assert model_entry(folder).sha256 == sha256
    assert cli.main(["models"]) == 0
    assert "is of version 0.3" not in capsys.readouterr().out


def test_the_names_are_those_that_the_package_still_finds():
    assert set(MODULES_OF_0_3) == set(MedLLMSegLib._MODULES_OF_0_3)
