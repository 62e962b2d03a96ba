"""The user's own models: import, verify, delete."""
import hashlib
import json
import shutil
import zipfile

import pytest

from MedLLMSegLib import UserError, list_models
from MedLLMSegLib.catalogue import BUNDLES, METADATA, model_entry
from MedLLMSegLib.user_models import WEIGHTS, delete_model, import_model, is_users_own, verify_model


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path / "Zwischenspeicher é"))
    return tmp_path / "Zwischenspeicher é"


def write_bundle(folder, name):
    """What bundle.py writes, without torch."""
    about = {"id": name, "title": "Mine", "kind": "segmenter", "modality": "CT", "structures": ["spleen"],
             "licence": "CC-BY-4.0", "accuracy": "not measured", "weights_sha256": hashlib.sha256(b"weights").hexdigest()}
    for path, content in ((METADATA, json.dumps(about).encode()), (WEIGHTS, b"weights"), ("LICENSE", b"licence")):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(tmp_path / "download", "mine")


def test_the_weights_lie_where_bundles_have_them():
    assert f'WEIGHTS, CARD, LICENCE = "{WEIGHTS}"' in (BUNDLES.parent / "bundle.py").read_text()


def ids():
    return [e.id for e in list_models()]


def left_over(cache):
    return [p.name for p in cache.iterdir() if p.name != "models"] if cache.exists() else []


def test_a_folder_is_copied_in_and_can_be_deleted_again(bundle, cache):
    entry = import_model(bundle)
    assert entry.folder == cache / "models" / "mine" and "mine" in ids() and is_users_own(entry)
    assert bundle.exists() and not left_over(cache)
    delete_model(entry)
    assert "mine" not in ids() and not entry.folder.exists()


@pytest.mark.parametrize("inside", ["", "a folder/"])
def test_a_zip_file_is_as_good_as_a_folder(bundle, cache, tmp_path, inside):
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        for path in bundle.rglob("*"):
            archive.write(path, inside + path.relative_to(bundle).as_posix())
    assert import_model(tmp_path / "mine.zip").id == "mine" and "mine" in ids() and not left_over(cache)


def test_what_is_no_bundle_is_refused_and_nothing_stays(cache, tmp_path):
    (tmp_path / "broken.zip").write_bytes(b"PK nothing")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    for source, reason in ((tmp_path, "not a model bundle"), (tmp_path / "broken.zip", "no readable .zip"),
                           (tmp_path / "empty.zip", "holds 0 model bundles"), (tmp_path / "absent", "not a model bundle")):
        with pytest.raises(UserError, match=reason):
            import_model(source)
    assert not left_over(cache) and not (cache / "models").exists()


def test_changed_weights_are_refused_at_import_and_found_by_verify(bundle):
    entry = import_model(bundle)
    verify_model(entry)
    (entry.folder / WEIGHTS).write_bytes(b"other")
    with pytest.raises(UserError, match="not the ones it was published with"):
        verify_model(entry)
    shutil.rmtree(entry.folder)
    (bundle / WEIGHTS).write_bytes(b"other")
    with pytest.raises(UserError, match="not the ones"):
        import_model(bundle)
    (bundle / WEIGHTS).unlink()
    with pytest.raises(UserError, match="no readable"):
        import_model(bundle)
    assert "mine" not in ids()


def test_an_id_is_given_once(bundle, tmp_path):
    import_model(bundle)
    with pytest.raises(UserError, match='called "mine" already'):
        import_model(bundle)
    for name, reason in (("hippocampus-t1", "already"), ("../up", "cannot be the name"), (".hidden", "cannot be the name")):
        other = write_bundle(tmp_path / "other", name)
        with pytest.raises(UserError, match=reason):
            import_model(other)


def test_models_that_come_with_the_program_stay():
    entry = model_entry(BUNDLES / "hippocampus-t1")
    verify_model(entry)
    assert not is_users_own(entry)
    with pytest.raises(UserError, match="not one of your own"):
        delete_model(entry)
    assert (entry.folder / METADATA).exists()
