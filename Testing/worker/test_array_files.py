"""Volumes and results come out of their files as they went in."""

import errno
import json
from dataclasses import replace

import numpy as np
import pytest

from MedLLMSegLib import Segmentation, UserError, Volume
from MedLLMSegLib.anatomy.structures import uncoded_structures
from MedLLMSegLib.core.quality import Quality, ScanQuality
from MedLLMSegLib.core.segmentation import IntracranialVolume
from MedLLMSegLib.worker.array_files import (
    load_segmentation,
    load_volume,
    save_segmentation,
    save_volume,
)
from Testing.helpers.grids import GRIDS

OBLIQUE = GRIDS["oblique, flipped, permuted, anisotropic"].ijk_to_ras + 1e-13 * np.pi
RNG = np.random.default_rng(0)


def same(one: Volume, other: Volume) -> bool:
    return (
        one.array.dtype == other.array.dtype
        and np.array_equal(one.array, other.array)
        and one.name == other.name
        and np.array_equal(one.ijk_to_ras, other.ijk_to_ras)
        and dict(one.tags) == dict(other.tags)
    )


@pytest.mark.parametrize(
    "dtype",
    (
        "bool",
        "uint8",
        "int8",
        "uint16",
        "int16",
        "int32",
        "uint32",
        "int64",
        "float16",
        "float32",
        "float64",
        ">i2",
        ">f4",
    ),
)
def test_every_kind_of_voxel_survives(dtype, tmp_path):
    array = (RNG.uniform(-100, 100, (4, 5, 6)) % 250).astype(dtype)
    volume = Volume(
        array, OBLIQUE, "scan", {"window_center": 40.5, "window_width": np.float32(0.1)}
    )
    assert same(load_volume(save_volume(volume, tmp_path)), volume)


@pytest.mark.parametrize(
    "change",
    (
        np.asfortranarray,
        lambda a: a[::2, ::-1, 1:],
        lambda a: np.broadcast_to(a[:1], a.shape),
        lambda a: np.stack((a, a)),
        lambda a: a[:0],
        lambda a: np.where(a > 0, a, np.nan),
    ),
)
def test_views_series_empty_and_broken_values_survive(change, tmp_path):
    volume = Volume(change(RNG.normal(size=(6, 5, 4)).astype(np.float32)), OBLIQUE)
    back = load_volume(save_volume(volume, tmp_path))
    assert np.array_equal(back.array, volume.array, equal_nan=True)
    assert back.array.dtype == np.float32


@pytest.mark.parametrize("name", sorted(GRIDS))
def test_no_matrix_changes_in_its_last_bit(name, tmp_path):
    matrix = GRIDS[name].ijk_to_ras / 3 + 1e-14
    assert np.array_equal(
        load_volume(save_volume(Volume(np.zeros((2, 2, 2)), matrix), tmp_path)).ijk_to_ras, matrix
    )


def test_long_and_foreign_names(tmp_path):
    folder = tmp_path.joinpath(*["Größe 日本語 ☃ " + "x" * 60] * 8)
    volume = Volume(np.arange(8, dtype=np.int16).reshape(2, 2, 2), OBLIQUE, 'Kopf "☃"\n日本 \udc80')
    assert same(load_volume(save_volume(volume, folder)), volume)
    assert len(str(folder)) > 500


def test_what_cannot_be_written_or_read_is_said_in_one_sentence(tmp_path):
    volume = Volume(np.zeros((2, 2, 2)), np.eye(4))
    with pytest.raises(UserError, match="grey values"):
        save_volume(Volume(np.array([[[None]]]), np.eye(4)), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="in the way"):
        save_volume(volume, tmp_path / "file")
    for damage in ("array.npy", "volume.json"):
        folder = save_volume(volume, tmp_path / damage)
        (folder / damage).write_bytes((folder / damage).read_bytes()[:70])
        with pytest.raises(UserError, match="missing or damaged"):
            load_volume(folder)
    with pytest.raises(UserError, match="missing or damaged"):
        load_segmentation(tmp_path / "nowhere")


def test_nothing_is_unpickled(tmp_path):
    folder = save_volume(Volume(np.zeros((2, 2, 2)), np.eye(4)), tmp_path)
    np.save(folder / "array.npy", np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(UserError, match="damaged"):
        load_volume(folder)


def test_a_whole_result_survives(tmp_path):
    labels = Volume(RNG.integers(0, 3, (4, 5, 6)).astype(np.uint8), OBLIQUE, "scan")
    full = Segmentation(
        labels,
        uncoded_structures({1: "liver", 2: "tumour"}),
        {1: 0.1 + 0.2, 2: float("nan")},
        labels.with_array(RNG.random((2, 4, 5, 6)).astype(np.float32), "scan probabilities"),
        ("Größer als sonst ☃.",),
        "liver-ct",
        1 / 3,
        labels.with_array(RNG.random((4, 5, 6)).astype(np.float32)),
        IntracranialVolume(None, "the skull was taken off"),
        quality=ScanQuality(Quality("red", ("it is tiny",)), {1: Quality()}, {1: (1 / 3, 2.0)}),
    )
    back = load_segmentation(save_segmentation(full, tmp_path / "full"))
    assert same(back.labels, labels)
    assert same(back.probabilities, full.probabilities)
    assert same(back.uncertainty, full.uncertainty)
    assert back.structures == full.structures
    assert back.intracranial == full.intracranial
    assert back.quality == full.quality
    assert back.notes == full.notes
    assert back.model == "liver-ct"
    assert back.seconds == 1 / 3
    assert back.confidence[1] == 0.1 + 0.2
    assert np.isnan(back.confidence[2])
    plain = replace(full, probabilities=None, uncertainty=None, intracranial=None, quality=None)
    back = load_segmentation(save_segmentation(plain, tmp_path / "plain"))
    assert back.probabilities is None
    assert back.uncertainty is None
    assert back.intracranial is None
    assert back.quality is None
    json.loads(
        (tmp_path / "full/segmentation.json").read_text(),
        parse_constant=lambda name: pytest.fail(f"{name} is no JSON"),
    )


def test_a_mapped_scan_is_read_where_it_lies_and_cannot_be_changed(tmp_path):
    volume = Volume(RNG.normal(size=(3, 4, 5)).astype(">f4"), OBLIQUE, "scan")
    folder = save_volume(volume, tmp_path)
    mapped = load_volume(folder, mapped=True)
    assert same(mapped, volume)
    assert type(mapped.array) is np.ndarray  # no special array that numpy's functions hand on
    with pytest.raises(ValueError, match="read-only"):
        mapped.array[0] = 0
    bytes_ = bytearray((folder / "array.npy").read_bytes())
    bytes_[-4:] = np.array(7, ">f4").tobytes()
    with open(folder / "array.npy", "r+b") as file:
        file.write(bytes_)
    assert mapped.array[-1, -1, -1] == 7
    assert load_volume(folder).array.flags.writeable


@pytest.mark.parametrize("mapped", (False, True))
@pytest.mark.parametrize(
    "damage",
    (
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes() + b"0"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PK\x03\x04" + path.read_bytes()),  # of an archive
        lambda path: np.savez(path.open("wb"), np.zeros((2, 3, 4), np.int16)),
        lambda path: np.save(path, np.zeros((2, 4, 3), np.int16)),
        lambda path: np.save(path, np.zeros((2, 3, 4), np.uint16)),
        lambda path: path.unlink(),
    ),
    ids=("short", "long", "empty", "zip", "archive", "shape", "dtype", "missing"),
)
def test_another_array_than_was_written_is_one_sentence(damage, mapped, tmp_path):
    folder = save_volume(Volume(np.zeros((2, 3, 4), np.int16), np.eye(4)), tmp_path)
    damage(folder / "array.npy")
    with pytest.raises(UserError, match="missing or damaged; check the space") as error:
        load_volume(folder, mapped=mapped)
    assert str(folder) in str(error.value)


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    def full(*_args, **_more):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(UserError, match="disk or quota is full; free some space"):
        save_volume(Volume(np.zeros((2, 3, 4)), np.eye(4)), tmp_path)


def test_a_head_that_is_no_python_is_damage(tmp_path):
    """numpy parses the head of a file as Python, with that parser's own errors."""
    folder = save_volume(Volume(np.zeros((2, 3, 4)), np.eye(4)), tmp_path / "v")
    path = folder / "array.npy"
    path.write_bytes(path.read_bytes().replace(b"}", b"(", 1))
    with pytest.raises(UserError, match="missing or damaged"):
        load_volume(folder)
