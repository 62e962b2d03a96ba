"""The reference by which the shipped model of the brain tells scans of another domain."""

from MedLLMSegLib.evaluation.synthetic_looks import HEADS
from MedLLMSegLib.registry.bundle import read_bundle
from MedLLMSegLib.registry.catalogue import find_model
from MedLLMSegLib.registry.domain_file import DOMAIN_FILE
from MedLLMSegLib.registry.domain_reference import read_domain

MOST_BYTES = 300_000


def test_it_is_small_and_of_this_very_model_and_silent_on_heads_of_the_val_maps():
    bundle = read_bundle(find_model("brain-mr").folder)
    assert read_domain(bundle.folder, bundle.metadata, bundle.measured) is not None
    assert (bundle.folder / DOMAIN_FILE).stat().st_size < MOST_BYTES
    rows = {row["images"]: row for row in bundle.metadata["domain"]["figures"]}
    for split, heads in (("val", "validation heads"), ("test", "test heads")):
        assert rows[heads]["n"] == HEADS[split]
        assert rows[heads]["median"] < 1
    assert rows["validation heads"]["outside"] / HEADS["val"] <= 0.05
