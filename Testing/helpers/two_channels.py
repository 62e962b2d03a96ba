"""A toy patient of two images: a CT in HU and a PET in SUV, the PET on a grid of its own."""

import json
from dataclasses import replace

import numpy as np
import torch

from MedLLMSegLib import save_volume
from MedLLMSegLib.core.resampling import resample
from MedLLMSegLib.core.volume import Quantity, Volume
from MedLLMSegLib.networks.build import build_network
from MedLLMSegLib.registry.bundle import write_bundle
from MedLLMSegLib.registry.monai_fields import monai_fields
from Testing.helpers.tiny_segmenter import TINY

SHAPE, PET_SHAPE = (16, 24, 20), (12, 16, 14)
CT_GRID = np.diag([-1.5, -1.5, 2.0, 1.0])
CT_GRID[:3, 3] = [20, 30, -5]
CT, PET = Quantity("CT", "HU"), Quantity("PT", "SUV")
CHANNELS = [
    {"name": "ct", "modality": "CT", "unit": "HU", "grey": [-150.0, 250.0, 40.0, 60.0]},
    {"name": "pet", "modality": "PT", "unit": "SUV", "grey": [0.0, 20.0, 4.0, 3.0]},
]


def pet_grid():
    """Coarser, turned by 10 degrees about the body's axis, and a little larger than the CT."""
    turn = np.radians(10)
    matrix = np.eye(4)
    turned = np.array(
        [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    )
    matrix[:3, :3] = turned * [3.0, 3.0, 3.5]
    middle = CT_GRID[:3, :3] @ (np.array(SHAPE[::-1]) - 1) / 2 + CT_GRID[:3, 3]
    matrix[:3, 3] = middle - matrix[:3, :3] @ ((np.array(PET_SHAPE[::-1]) - 1) / 2)
    return matrix


def patient(seed=0):
    """(ct, pet, labels): a warm ball of SUV 8, of which the CT shows 20 HU of contrast."""
    rng = np.random.default_rng(seed)
    grid = np.ogrid[tuple(slice(n) for n in SHAPE)]
    centre = np.array(SHAPE) / 2 + rng.uniform(-1, 1, 3)
    ball = sum(((a - c) / r) ** 2 for a, c, r in zip(grid, centre, (4, 6, 6), strict=True)) <= 1
    hu = np.where(ball, 60, 40) + rng.normal(0, 15, SHAPE)
    hu[:, :2] = -1000
    ct = Volume(hu.astype(np.int16), CT_GRID, "ct", quantity=CT)
    whole = Volume(np.where(ball, 8, 1).astype(np.float32), CT_GRID)
    blank = Volume(np.empty(PET_SHAPE, np.float32), pet_grid(), "pet", quantity=PET)
    pet = replace(blank, array=resample(whole.array, whole.grid, blank.grid))
    return ct, pet, Volume(ball.astype(np.uint8), CT_GRID)


def write_patients(folder, count=6, one_grid=False):
    """Patients in nnU-Net's layout: 4 to train, 1 to choose by, the others to test.

    one_grid: the PET lies on the CT's grid.
    """
    for n in range(count):
        ct, pet, labels = patient(n)
        if one_grid:
            pet = ct.with_array(resample(pet.array, pet.grid, ct.grid))
        save_volume(ct, folder / f"imagesTr/p{n}_0000.nii.gz")
        save_volume(pet, folder / f"imagesTr/p{n}_0001.nii.gz")
        save_volume(labels, folder / f"labelsTr/p{n}.nii.gz")
    about = {"channel_names": {"0": "CT", "1": "PET"}, "labels": {"background": 0, "ball": 1}}
    (folder / "dataset.json").write_text(json.dumps(about), encoding="utf-8")
    names = [f"p{n}" for n in range(count)]
    splits = {"train": names[:4], "val": names[4:5], "test": names[5:]}
    (folder / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
    return folder


def in_one_file(seed=0):
    """Both images of a patient as one volume [2, k, j, i], the PET on the CT's grid."""
    ct, pet, _ = patient(seed)
    on_ct = resample(pet.array, pet.grid, ct.grid)
    return ct.with_array(np.stack([ct.array.astype(np.float32), on_ct]))


def write_in_one_file(folder, count=6):
    """As `write_patients`, with both images of a patient in one file, as the Decathlon has them."""
    write_patients(folder, count)
    for n in range(count):
        for path in folder.glob(f"imagesTr/p{n}_*"):
            path.unlink()
        save_volume(in_one_file(n), folder / f"imagesTr/p{n}.nii.gz")
    return folder


def two_channel_bundle(folder, channels=CHANNELS):
    """A model of untrained but decided weights that takes a CT and a PET."""
    config = replace(TINY, in_channels=len(channels), classes=2)
    torch.manual_seed(5)
    tensors = {
        name: 8 * t if name.startswith("decoder.head") else t
        for name, t in build_network(config).state_dict().items()
    }
    metadata = {
        "id": "petct",
        "kind": "segmenter",
        "title": "Warm balls",
        "modality": "CT and PET",
        "anatomy": None,
        "licence": "MIT",
        "structures": ["ball"],
        "accuracy": "not measured",
        "network": config.to_dict(),
        "labels": [label("ball")],
        "preprocessing": {
            "spacing_mm": [2.0, 1.5, 1.5],
            "axes": "ras",
            "window": [16, 24, 24],
            "channels": channels,
        },
    }
    return write_bundle(folder, {**metadata, **monai_fields(metadata)}, tensors, "card", "licence")


def label(name):
    """A structure of the label 1, as a bundle states it."""
    from MedLLMSegLib.anatomy.structures import named_structures

    return named_structures({1: name})[0].to_dict()
