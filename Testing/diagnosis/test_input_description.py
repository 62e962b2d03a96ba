"""What older bundles say of their input is read and written as it was."""

import json

import pytest

from MedLLMSegLib import UserError
from MedLLMSegLib.diagnosis.input_description import InputConfig

PET_CT = InputConfig(modalities=("PT",), body_part="", views=(), channels={"ct": ("CT",)})


def test_what_older_bundles_say_of_their_input_is_written_as_it_was():
    old = {
        "kind": "radiograph",
        "modalities": ("CR", "DX", "RG"),
        "body_part": "CHEST",
        "views": ("PA", "AP"),
        "slices": 1,
        "longest": 0,
        "lungs": False,
    }
    assert InputConfig().to_dict() == old
    assert InputConfig.from_dict(old) == InputConfig()
    assert InputConfig().names == ()
    assert InputConfig.from_dict(json.loads(json.dumps(PET_CT.to_dict()))) == PET_CT
    assert PET_CT.names == ("image", "ct")
    with pytest.raises(UserError, match=r"InputConfig.channels is"):
        InputConfig(channels={"image": ()})
