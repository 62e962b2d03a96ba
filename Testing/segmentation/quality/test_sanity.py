"""What no training case had is said in words."""

import numpy as np
import pytest

from MedLLMSegLib.anatomy.structures import cardiac_structures, hippocampus_structures
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.metrics.label_shape import label_shapes
from MedLLMSegLib.segmentation.quality.norms import Norms, Offset, learn_norms
from MedLLMSegLib.segmentation.quality.sanity import check_sanity
from Testing.helpers.heart_phantom import heart_series
from Testing.helpers.shapes import STRUCTURES, norms, organ

NORMS = norms()


def sanity(labels, known=NORMS, structures=STRUCTURES):
    return check_sanity(label_shapes(labels), structures, known)


def says(faults):
    return " / ".join(fault.says for fault in faults)


def test_a_case_like_the_training_has_no_fault():
    found = sanity(organ(9.3))
    assert found.scan == ()
    assert not any(found.structures.values())


def test_what_is_half_as_large_is_most_likely_of_a_wrong_pixel_size():
    for spacing, word in ((0.5, "small"), (0.65, "small"), (2.1, "large")):
        found = sanity(organ(9.0, spacing=spacing))
        assert found.scan[0].grave
        assert f"everything is too {word}" in found.scan[0].says
        assert "pixel size" in found.scan[0].says
        assert "volume" not in says(found.structures[1])  # it is said once


def test_one_structure_of_another_size_is_no_pixel_size():
    found = sanity(organ(9.0, shell=12.0))
    assert found.scan == ()
    assert not found.structures[1]
    assert "is outside the" in says(found.structures[2])
    tiny = organ(9.0)
    tiny.array[tiny.array == 2] = 0
    tiny.array[30, 30, 30:34] = 2
    assert "hardly anything" in says(sanity(tiny).structures[2])


def test_a_structure_that_is_missing_is_grave():
    labels = organ(9.0)
    labels.array[labels.array == 2] = 0
    (fault,) = sanity(labels).structures[2]
    assert fault.grave
    assert "not found" in fault.says


def test_stray_parts_and_lost_neighbours_are_told():
    labels = organ(9.0)
    labels.array[0:8, 0:12, 0:12] = 1
    assert "lie apart" in says(sanity(labels).structures[1])
    apart = organ(9.0)
    apart.array[apart.array == 2] = 0
    apart.array[12:28, 10:34, 40:48] = 2
    found = sanity(apart)
    assert "adjoin the core" in says(found.structures[2])
    assert "adjoin the shell" in says(found.structures[1])


def test_a_structure_that_is_left_out_of_the_norms_is_judged_by_nothing():
    """As the CSF around a brain, which goes with the skull."""
    core, shell = (s.sideless_key for s in STRUCTURES[:2])
    lost = organ(9.0)
    lost.array[lost.array == 2] = 0
    assert says(sanity(lost).structures[1])
    known = NORMS.without(shell)
    found = sanity(lost, known)
    assert 2 not in found.structures
    assert not found.structures[1]
    assert shell not in known.structures[core].touches
    assert set(Norms.from_dict(known.to_dict()).structures) == {core}


def test_the_right_ventricle_lies_right_of_the_left_one():
    _scan, series = heart_series()
    maps = [Volume(labels, series.ijk_to_ras) for labels in series.array]
    known = learn_norms([(label_shapes(m), cardiac_structures()) for m in maps])
    assert Norms.from_dict(known.to_dict()).to_dict() == known.to_dict()
    for labels in maps:
        found = sanity(labels, known, cardiac_structures())
        assert not any(found.structures.values())
    mirrored = Volume(series.array[0], np.diag([-1.0, 1, 1, 1]) @ series.ijk_to_ras)
    faults = sanity(mirrored, known, cardiac_structures()).structures[3]  # the left one
    assert any(f.says == "it does not lie to the left of the right ventricle" for f in faults)
    assert all(f.grave for f in faults)


def test_left_and_right_share_their_norms_and_may_not_be_exchanged():
    one = organ(9.0).array[:, :, 12:]  # (k, j, 36): the shell on the right of the core
    both = np.concatenate([one[:, :, ::-1], np.where(one > 0, one + 2, 0)], axis=2)
    both = both.astype(np.uint8)  # the left organ first: i runs to the right
    structures = hippocampus_structures(True)
    matrix = np.eye(4)
    crop = Volume(one[:, :, ::-1].astype(np.uint8), matrix)
    known = learn_norms([(label_shapes(crop), hippocampus_structures(False))], has_sides=False)
    assert not any(sanity(Volume(both, matrix), known, structures).structures.values())
    exchanged = Volume(both, np.diag([-1.0, 1, 1, 1]))
    assert "right of the right one" in says(sanity(exchanged, known, structures).structures[1])


def test_a_right_structure_is_told_in_the_bodys_own_words():
    """Its norms are those of a mirrored body."""
    medial = Offset("core", "shell", axis=0, sign=1, least_mm=12.0)
    assert medial.in_words("left") == medial.in_words("") == "to the right"
    assert medial.in_words("right") == "to the left"
    assert Offset("core", "shell", axis=1, sign=-1, least_mm=12.0).in_words("right") == "behind"


def test_damaged_norms_are_refused():
    stored = NORMS.to_dict()
    broken = {**stored, "offsets": [["core", "shell", 5, 1, 3.0]]}
    with pytest.raises(ValueError, match="axis 5"):
        Norms.from_dict(broken)
    core = {**stored["structures"]["core"], "log_ml": [1.0, float("nan"), 0.0, 2.0]}
    with pytest.raises(ValueError, match="no mean"):
        Norms.from_dict({**stored, "structures": {"core": core}})
