"""A CT node and a PET node of one patient, through the logic and the worker's files."""

import numpy as np
import pytest

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.volume import Quantity
from MedLLMSegLib.worker.array_files import load_volume, save_volume
from MedLLMSegLib.worker.message_checks import check_request
from Testing.helpers.two_channels import patient


def test_what_an_image_measures_travels_with_it(tmp_path):
    _, pet, _ = patient()
    raw = Quantity("PT", "BQML", None, "the file lacks a weight")
    for quantity in (pet.quantity, raw, Quantity()):
        place = save_volume(
            type(pet)(pet.array, pet.ijk_to_ras, "pet", quantity=quantity), tmp_path
        )
        assert load_volume(place).quantity == quantity


def test_a_request_names_further_images_by_their_folders():
    request = {"do": "segment", "id": 1, "volume": "a", "output": "b"}
    check_request({**request, "further": ["c", "d"]})
    for wrong in ("c", [None], [1], ["a\0b"]):
        with pytest.raises(ValueError, match="further"):
            check_request({**request, "further": wrong})


def test_the_worker_hands_all_images_to_the_engine(tmp_path, monkeypatch):
    from MedLLMSegLib.worker import tasks

    ct, pet, _ = patient()
    seen = {}

    def segment(images, model, *, progress, **options):
        seen["images"] = images
        raise UserError("seen")

    engine = tasks.Engine(lambda name, device: None, segment, None, list)
    doing = tasks.Tasks(engine)
    monkeypatch.setattr(doing, "model", lambda *_, **__: None)
    message = {"volume": str(save_volume(ct, tmp_path / "a")), "output": str(tmp_path / "o")}
    message["further"] = [str(save_volume(pet, tmp_path / "b"))]
    with pytest.raises(UserError, match="seen"):
        doing.segment(message, lambda *_: None)
    assert [image.name for image in seen["images"]] == ["ct", "pet"]
    assert np.array_equal(seen["images"][1].array, pet.array)
    assert seen["images"][1].quantity == pet.quantity
