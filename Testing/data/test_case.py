"""The group of a case by its id."""

from MedLLMSegLib.data import group_of


def test_groups():
    assert group_of("hippocampus_001") == group_of("hippocampus_002") != group_of("hippocampus_003")
    assert group_of("patient003_frame01") == group_of("patient003_frame15") == "patient003"
    assert group_of("sub-01") == "sub-01" != group_of("sub-02")
