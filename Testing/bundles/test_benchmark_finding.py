"""The cards of models with a language-model block say what the benchmark's stored results say."""

import pytest

from MedLLMSegLib.cli.bundle import benchmark_finding
from MedLLMSegLib.registry.catalogue import BUNDLES, read_metadata
from Testing.helpers.places import ROOT


@pytest.mark.slow
def test_the_cards_state_what_the_benchmark_found():
    """`medllmseg bundle BUNDLE --benchmark docs/benchmark-results.json` writes them anew."""
    finding = benchmark_finding(ROOT / "docs/benchmark-results.json")
    for model in ("hippocampus-t1", "cardiac-cine-mr"):
        assert read_metadata(BUNDLES / model)["finding"] == finding
        card = (BUNDLES / model / "docs/README.md").read_text(encoding="utf-8")
        assert finding in " ".join(card.split())
