"""MONAI's runner finds the modules that bundles of version 0.3 name by their old names."""

from pydoc import locate

import pytest

from MedLLMSegLib.monai_bundle import classifier_runner, segmenter_runner


@pytest.mark.parametrize(
    "old_name, module",
    (("monai_runner", segmenter_runner), ("monai_classifier", classifier_runner)),
)
def test_what_a_bundle_of_0_3_names_is_found_where_it_is_now(old_name, module):
    """MONAI looks a `_target_` up with `pydoc.locate`."""
    assert locate(f"MedLLMSegLib.{old_name}") is module
    assert locate(f"MedLLMSegLib.{old_name}.load_network") is module.load_network
    assert locate(f"MedLLMSegLib.{old_name}.no_such_name") is None


@pytest.mark.parametrize(
    "name",
    (
        "monai_runner.CropOnlyd",
        "monai_runner.EitherWayInferer",
        "monai_runner.Evaluator",
        "monai_runner.NetworkGridd",
        "monai_runner.PlausibleVolumed",
        "monai_runner.ScanReader",
        "monai_runner.WindowInferer",
        "monai_runner.load_network",
        "monai_classifier.PreparedRadiographd",
        "monai_classifier.load_network",
    ),
)
def test_every_name_that_0_3_wrote_into_a_bundle_is_callable(name):
    assert callable(locate(f"MedLLMSegLib.{name}"))
