"""What is finished of the benchmark, as its page reads it."""

from __future__ import annotations

from pathlib import Path

from MedLLMSegLib.core.types import Json
from MedLLMSegLib.studies.study.results import StudyResults

from .benchmark_plan import BenchmarkSettings, complete_settings

COLLECTED = "benchmark-results.json"


class BenchmarkResults(StudyResults):
    """The finished runs of one benchmark, kept in `path`, which is committed with the repository.

    groups: case id -> head or patient. structures: names in the order of their labels.
    """

    def __init__(
        self, path: Path, settings: BenchmarkSettings, groups: dict[str, str], structures: list[str]
    ):
        super().__init__(path)
        self.settings, self.groups, self.structures = settings.to_dict(), groups, structures
        facts = {"groups": groups, "structures": structures}
        self.begin(self.settings, complete_settings, **facts)

    @property
    def measured(self) -> dict[str, Json]:
        """What `--measure` found: network and arm -> costs."""
        found: dict[str, Json] = self.get("measured", {})
        return found

    @property
    def memory(self) -> dict[str, Json]:
        """What `--memory` found: network and arm -> precision -> costs."""
        found: dict[str, Json] = self.get("memory", {})
        return found
