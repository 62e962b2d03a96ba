"""What the command line asks of a loaded segmenter, where a test's own function segments."""

from types import SimpleNamespace

from MedLLMSegLib.anatomy.structures import hippocampus_structures


def loaded_stand_in(sha256="0" * 64):
    """A loaded model with an id and a licence, and no network; its precision is not known."""
    return SimpleNamespace(
        entry=SimpleNamespace(licence="MIT", id="x"),
        sha256=sha256,
        channels=(),
        engine="torch",
        settled_precision=lambda: None,
        domain=None,
        trained_range=None,
        settled_precisions=lambda: {"network": None},
        precision_why="",
        quality=None,
        structures_for=hippocampus_structures,
    )
