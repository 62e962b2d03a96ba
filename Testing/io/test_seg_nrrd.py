"""The text fields of a .seg.nrrd file are those that Slicer reads."""

import numpy as np

from MedLLMSegLib.anatomy.structures import hippocampus_structures
from MedLLMSegLib.io.volume_files import save_segmentation
from Testing.helpers.volumes import make_segmentation


def test_seg_nrrd_says_what_slicer_needs(tmp_path):
    path = save_segmentation(make_segmentation(), tmp_path / "a.seg.nrrd")
    header = path.read_bytes().split(b"\n\n")[0].decode().splitlines()
    fields = dict(line.split(":=", 1) for line in header if ":=" in line)
    assert fields["Segment0_ID"] == "left_anterior"
    assert fields["Segment0_Name"] == "Left hippocampus (anterior)"
    assert fields["Segment1_LabelValue"] == "4"
    assert fields["Segment1_Layer"] == "0"
    assert "Segment2_ID" not in fields  # 2 and 3 have no voxels and are left out
    assert fields["Segment0_Extent"] == "0 12 0 10 0 8"
    color = [float(c) for c in fields["Segment1_Color"].split()]
    assert np.allclose(np.array(color) * 255, hippocampus_structures(True)[3].color, atol=1e-3)
    entry = fields["Segment1_Tags"]
    assert entry.startswith("TerminologyEntry:")
    assert entry.endswith("|")
    assert entry.split("~")[1:4] == [
        "SCT^123037004^Anatomical Structure",
        "SCT^5366008^Hippocampus",
        "SCT^24028007^Right",
    ]
    assert len(entry.split("~")) == 7
    assert fields["Segmentation_MasterRepresentation"] == "Binary labelmap"
