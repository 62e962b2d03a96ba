"""What the panel's window is not needed for: the sample's download, and what computes."""

import hashlib
import http.client
import io
import sys
import threading
import time
import urllib.request

import pytest

from MedLLMSegLib.slicer_bridge.presenter import device_text
from MedLLMSegLib.slicer_bridge.scene.sample_data import Download


def ended(download):
    end = time.monotonic() + 60
    while not download.wait(0.01) and time.monotonic() < end:
        pass
    assert download.wait(0)
    return download


@pytest.fixture
def published(tmp_path):
    path = tmp_path / "published.nrrd"
    path.write_bytes(b"a head")
    return path.as_uri(), hashlib.sha256(b"a head").hexdigest()


def test_the_sample_is_fetched_verified_and_not_fetched_again(tmp_path, published):
    uri, sha256 = published
    folder = tmp_path / "a cache é"
    done = ended(Download(folder, uri, sha256, "head.nrrd"))
    assert done.error is None
    assert (folder / "head.nrrd").read_bytes() == b"a head"
    assert len(list(folder.iterdir())) == 1
    assert ended(Download(folder, "file:///gone", sha256, "head.nrrd")).error is None
    (folder / "head.nrrd").write_bytes(b"half of")  # broken off
    assert ended(Download(folder, uri, sha256, "head.nrrd")).error is None
    assert (folder / "head.nrrd").read_bytes() == b"a head"


@pytest.mark.parametrize("uri", ["file:///gone.nrrd", "no address"])
def test_what_cannot_be_fetched_leaves_nothing(tmp_path, published, uri):
    assert ended(Download(tmp_path / "cache", uri, published[1], "head.nrrd")).error is not None
    assert (
        ended(Download(tmp_path / "cache", published[0], "0" * 64, "head.nrrd")).error is not None
    )
    assert not (tmp_path / "cache").exists()


def test_an_answer_that_breaks_off_is_an_error(tmp_path, published, monkeypatch):
    """http.client's are neither OSError nor ValueError."""

    class Answer(io.BytesIO):
        def read(self):
            raise http.client.IncompleteRead(b"half of")

    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: Answer())
    monkeypatch.setattr(threading, "excepthook", lambda what: None)
    done = ended(Download(tmp_path / "cache", published[0], published[1], "head.nrrd"))
    assert isinstance(done.error, http.client.IncompleteRead)
    assert not (tmp_path / "cache").exists()


def test_what_computes_is_found_without_torch(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(device_text.os, "cpu_count", lambda: 8)
    monkeypatch.setattr(device_text, "version", lambda name: "2.13.0+cu126")
    assert device_text.found_device(tmp_path) == "CPU, 8 cores"
    (tmp_path / "0000:01").mkdir()
    (tmp_path / "0000:01" / "information").write_text("Model: \t\t NVIDIA H200\nIRQ: 1\n")
    assert device_text.found_device(tmp_path) == "NVIDIA H200"
    monkeypatch.setattr(device_text, "version", lambda name: "2.13.0+cpu")
    assert "cannot use the GPU" in device_text.found_device(tmp_path)


def test_apples_gpu(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "platform", "darwin")
    for kind, text in (("arm64", "Apple GPU"), ("x86_64", "CPU")):
        monkeypatch.setattr(device_text.platform, "machine", lambda kind=kind: kind)
        assert device_text.found_device(tmp_path).startswith(text)
