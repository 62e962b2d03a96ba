"""The look-up tables of DICOM files, in both encodings."""

import numpy as np
import pytest

from MedLLMSegLib.io.radiograph import load_radiograph
from Testing.helpers.dicom_writer import write_dicom
from Testing.helpers.flat_images import RAMP, linear

TABLE = np.sqrt(np.arange(3072) / 3071) * 4095


@pytest.mark.parametrize("explicit", (True, False))
@pytest.mark.parametrize("undefined", (True, False))
def test_a_voi_lut_is_used_where_there_is_no_window_and_can_be_chosen_where_there_is(
    tmp_path, explicit, undefined
):
    lut = {
        "LUTDescriptor": [2000, 500, 12],
        "LUTExplanation": "BONE",
        "LUTData": TABLE[:2000].astype("<u2"),
    }
    wanted = TABLE[:2000].astype("<u2")[np.clip(RAMP - 500, 0, 1999)] / 4095
    alone = write_dicom(
        tmp_path / "a.dcm", RAMP.astype(np.uint16), explicit, undefined, VOILUTSequence=[lut]
    )
    assert np.allclose(load_radiograph(alone).array, wanted, atol=1e-5)
    both = write_dicom(
        tmp_path / "b.dcm",
        RAMP.astype(np.uint16),
        explicit,
        undefined,
        VOILUTSequence=[lut],
        WindowCenter=1500,
        WindowWidth=1000,
    )
    assert np.allclose(load_radiograph(both).array, linear(RAMP, 1500, 1000), atol=1e-5)
    assert np.allclose(load_radiograph(both, window=2).array, wanted, atol=1e-5)
    assert "BONE" in load_radiograph(both).notes[0]


def test_luts_of_8_bits_of_signed_values_and_of_the_modality(tmp_path):
    eight = {
        "LUTDescriptor": [256, 65536 - 100, 8],
        "LUTData": np.arange(255, -1, -1).astype(np.uint8),
    }
    path = write_dicom(
        tmp_path / "a.dcm", (RAMP % 256 - 100).astype(np.int16), VOILUTSequence=[eight]
    )
    assert np.allclose(load_radiograph(path).array, (255 - RAMP % 256) / 255, atol=1e-5)
    modality = {"LUTDescriptor": [3072, 0, 16], "LUTData": (RAMP.ravel() // 2 + 7).astype("<u2")}
    for kind in ("MONOCHROME1", "MONOCHROME2"):
        path = write_dicom(
            tmp_path / "b.dcm",
            RAMP.astype(np.uint16),
            ModalityLUTSequence=[modality],
            WindowCenter=700,
            WindowWidth=900,
            PhotometricInterpretation=kind,
        )
        wanted = linear(RAMP // 2 + 7, 700, 900)
        assert np.allclose(
            load_radiograph(path).array, wanted if kind == "MONOCHROME2" else 1 - wanted, atol=1e-5
        )
