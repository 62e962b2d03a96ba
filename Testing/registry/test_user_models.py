"""The user's own models: brought in from folders and zip files, verified, deleted; and what must
never happen to the disk.
"""

import hashlib
import json
import os
import shutil
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from MedLLMSegLib import UserError, list_models
from MedLLMSegLib.core.safe_files import OUTDATED_S, temporary_path
from MedLLMSegLib.registry import user_models
from MedLLMSegLib.registry.catalogue import BUNDLES, METADATA, model_entry
from MedLLMSegLib.registry.licences import licence_text
from MedLLMSegLib.registry.user_models import (
    LICENCE,
    OPTIONAL,
    WEIGHTS,
    delete_model,
    free_id,
    import_model,
    is_users_model,
    verify_model,
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path / "Zwischenspeicher é"))
    return tmp_path / "Zwischenspeicher é"


def write_bundle(folder, name, **more):
    """What bundle.py writes, without torch."""
    about = {
        "id": name,
        "title": "Mine",
        "kind": "segmenter",
        "modality": "CT",
        "structures": ["spleen"],
        "licence": "CC-BY-4.0",
        "accuracy": "not measured",
        "network": {"classes": 2},
        "weights_sha256": hashlib.sha256(b"weights").hexdigest(),
        **more,
    }
    for path, content in (
        (METADATA, json.dumps(about).encode()),
        (WEIGHTS, b"weights"),
        (LICENCE, b"Do as you like."),
        (OPTIONAL[1], b"# Mine"),
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(tmp_path / "download é", "mine")


@pytest.fixture
def pack(tmp_path):
    """pack(bundle, prefix, extra={name: content}) -> a zip file"""

    def write(bundle, prefix="", extra=()):
        with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
            for path in sorted(p for p in bundle.rglob("*") if p.is_file()):
                archive.write(path, prefix + path.relative_to(bundle).as_posix())
            for name, content in dict(extra).items():
                archive.writestr(name, content)
        return tmp_path / "mine.zip"

    return write


def ids():
    return [e.id for e in list_models()]


def files(folder):
    return (
        sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))
        if folder.exists()
        else []
    )


def test_a_folder_is_copied_in_and_can_be_deleted_again(bundle, cache):
    entry = import_model(bundle)
    assert entry.folder == cache / "models" / "mine"
    assert "mine" in ids()
    assert is_users_model(entry)
    assert files(entry.folder) == files(bundle)
    assert files(cache / "models")[0] == "mine"
    assert licence_text(entry) == "Do as you like."
    delete_model("mine")
    assert "mine" not in ids()
    assert not entry.folder.exists()
    assert bundle.exists()


@pytest.mark.parametrize("prefix", ["", "a folder/", "a/deep/folder/"])
def test_a_zip_file_is_as_good_as_a_folder(bundle, pack, prefix):
    entry = import_model(str(pack(bundle, prefix)))
    assert entry.id == "mine"
    assert files(entry.folder) == files(bundle)


def test_nothing_but_a_bundles_files_is_taken(bundle, pack, cache, tmp_path):
    """Whatever an archive or a folder holds besides, and wherever it wants to go."""
    outside = tmp_path / "victim"
    extra = {
        "../../../victim": "x",
        str(outside): "x",
        "run_me.py": "x",
        "models/../../../../victim": "x",
        "C:\\victim": "x",
    }
    entry = import_model(pack(bundle, extra=extra))
    assert files(entry.folder) == files(bundle)
    assert not outside.exists()
    assert not (cache.parent / "victim").exists()
    delete_model(entry)
    (bundle / "run_me.py").write_text("x")
    (bundle / "link").symlink_to(tmp_path)
    assert "run_me.py" not in files(import_model(bundle).folder)


def test_a_prefix_that_climbs_out_takes_nothing_along(bundle, pack, cache):
    entry = import_model(pack(bundle, "../../"))
    assert entry.folder.parent == cache / "models"
    assert not (cache.parent / "models").exists()


def test_what_is_no_bundle_is_refused_and_nothing_stays(bundle, pack, cache, tmp_path):
    (tmp_path / "broken.zip").write_bytes(b"PK nothing")
    (tmp_path / "empty").mkdir()
    with zipfile.ZipFile(tmp_path / "hello.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    two = pack(bundle, "one/", {"two/" + METADATA: "{}"})
    for source, reason in (
        (tmp_path / "empty", "not a model bundle"),
        (tmp_path / "broken.zip", "neither a folder nor a readable zip"),
        (tmp_path / "hello.zip", "holds no model bundles"),
        (two, "holds 2 model bundles"),
        (tmp_path / "absent", "no file or folder"),
    ):
        with pytest.raises(UserError, match=reason):
            import_model(source)
    assert not files(cache / "models")


@pytest.mark.parametrize("missing", [METADATA, WEIGHTS, LICENCE])
def test_a_bundle_that_is_not_whole_is_refused(bundle, cache, missing):
    (bundle / missing).unlink()
    with pytest.raises(UserError, match="is missing"):
        import_model(bundle)
    assert not files(cache / "models")


@pytest.mark.parametrize(
    "about, reason",
    [
        ({"weights_sha256": "0" * 64}, "not the ones it was published with"),
        ({"network": {"heads": 0}}, "must be above 0"),
        ({"network": None}, "damaged"),
        ({"network": {"made_up": 1}}, "no setting called"),
        ({"title": None, "structures": 3}, "damaged"),
    ],
    ids=["other weights", "impossible network", "no network", "unknown network", "no structures"],
)
def test_a_damaged_bundle_is_refused(tmp_path, cache, about, reason):
    with pytest.raises(UserError, match=reason):
        import_model(write_bundle(tmp_path / "bad", "bad", **about))
    assert not files(cache / "models")


def test_weights_that_change_later_are_found_by_verify(bundle):
    entry = import_model(bundle)
    assert (
        verify_model("mine").id == verify_model(entry).id == verify_model(entry.folder).id == "mine"
    )
    (entry.folder / WEIGHTS).write_bytes(b"other")
    with pytest.raises(UserError, match="not the ones it was published with"):
        verify_model(entry)


def test_a_zip_bomb_is_cut_off(bundle, pack, cache, monkeypatch):
    from MedLLMSegLib.registry import user_models

    monkeypatch.setattr(user_models, "LARGEST_BYTES", 6)  # bytes
    monkeypatch.setattr(user_models, "CHUNK_BYTES", 2)
    (bundle / METADATA).read_bytes()
    with pytest.raises(UserError, match="larger than"):
        import_model(pack(bundle))
    assert not files(cache / "models")


def test_an_id_is_given_once_unless_another_may_be_taken(bundle, tmp_path):
    import_model(bundle)
    for name in ("mine", "MINE", "hippocampus-t1"):
        with pytest.raises(UserError, match=f'called "{name}" already'):
            import_model(write_bundle(tmp_path / "again", name))
    entry = import_model(bundle, rename=True)
    assert entry.id == "mine-2"
    assert entry.folder.name == "mine-2"
    assert model_entry(entry.folder).id == "mine-2"
    assert verify_model(entry).id == "mine-2"
    assert {"mine", "mine-2"} <= set(ids())


def test_a_copy_is_told_from_its_original_by_its_title(bundle, tmp_path):
    """A list shows titles: under another id, or the next free one."""
    assert import_model(bundle).title == "Mine"
    assert import_model(bundle, rename=True).title == "Mine (mine-2)"
    again = import_model(write_bundle(tmp_path / "other", "theirs", title="MINE"))
    assert again.title == "MINE (theirs)"
    assert model_entry(again.folder).title == "MINE (theirs)"
    assert import_model(write_bundle(tmp_path / "new", "new", title="New")).title == "New"


def test_two_slicers_that_import_at_once_get_a_model_each(bundle, monkeypatch):
    choose = user_models._title_for

    def choose_slowly(title, model_id):
        chosen = choose(title, model_id)
        time.sleep(0.05)  # the others choose the same meanwhile
        return chosen

    monkeypatch.setattr(user_models, "_title_for", choose_slowly)
    with ThreadPoolExecutor(3) as slicers:
        entries = list(slicers.map(lambda _n: import_model(bundle, rename=True), range(3)))
    assert len({entry.id for entry in entries}) == len({entry.title for entry in entries}) == 3


def test_an_import_removes_what_a_killed_one_left(bundle, cache):
    left = temporary_path(cache)
    shutil.copytree(bundle, left)
    for path in (*left.rglob("*"), left):
        os.utime(path, (time.time() - 2 * OUTDATED_S,) * 2)
    import_model(bundle)
    assert not left.exists()


@pytest.mark.parametrize("name", ["../up", ".hidden", "a/b", "a b", "", "x" * 200])
def test_an_id_that_is_no_name_of_a_folder_is_refused(tmp_path, cache, name):
    with pytest.raises(UserError, match="cannot be the name of a folder"):
        import_model(write_bundle(tmp_path / "bad", name))
    assert not files(cache / "models")


def test_any_name_can_become_an_id(bundle):
    import_model(bundle)
    assert [free_id(name) for name in ("Liver CT, 2", "Mine", "hippocampus-T1", "Größe 3")] == [
        "liver-ct-2",
        "mine-2",
        "hippocampus-t1-2",
        "grosse-3-c92074",
    ]
    with pytest.raises(UserError, match="not a name for a model"):
        free_id("??")


def test_models_that_come_with_the_program_stay():
    for name in ("hippocampus-t1", "brain-t1-localizer"):
        entry = model_entry(BUNDLES / name)
        assert verify_model(name).id == name
        assert not is_users_model(entry)
        with pytest.raises(UserError, match="not one of your own"):
            delete_model(entry)
        assert (entry.folder / METADATA).exists()


def test_deleting_follows_no_link_and_leaves_other_folders_alone(bundle, cache, tmp_path):
    (cache / "models").mkdir(parents=True)
    (cache / "models" / "linked").symlink_to(bundle, target_is_directory=True)
    linked = model_entry(cache / "models" / "linked")
    assert is_users_model(linked)
    assert not is_users_model(model_entry(bundle))
    delete_model(linked)
    assert files(bundle)
    assert not (cache / "models" / "linked").exists()
    with pytest.raises(UserError, match="not one of your own"):
        delete_model(model_entry(bundle))
    nested = cache / "models" / "group"
    shutil.copytree(bundle, nested / "deeper")
    with pytest.raises(UserError, match="not one of your own"):
        delete_model(model_entry(nested / "deeper"))
    assert Path(nested / "deeper").exists()


def test_no_torch_is_needed():
    import subprocess
    import sys

    code = (
        "import sys, MedLLMSegLib.registry.user_models, MedLLMSegLib.core.memory; print({'torch',"
        " 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=BUNDLES.parents[2],
        check=True,
    )
    assert done.stdout.strip() == "set()"
