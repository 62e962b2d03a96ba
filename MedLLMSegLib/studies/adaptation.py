"""What adapting the chest X-ray model to children's X-rays gains there, and costs where it comes
from.

    python -m MedLLMSegLib.studies.adaptation --data ../shared/data --output runs/adaptation

Learnt from are the images of `cxr_children`'s split "adapt" alone, with several draws of the
labels; measured on its split "test" and on the test images of `cxr`. Every arm is shown as it is
before the way back, and beside it how often it is undone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MedLLMSegLib.core.progress import Progress, ProgressLog, Report
from MedLLMSegLib.core.safe_files import make_folder, write_text
from MedLLMSegLib.core.types import Json, PathLike
from MedLLMSegLib.diagnosis.loaded_classifier import load_classifier
from MedLLMSegLib.evaluation.adapt_classifier import AdaptOptions, adapted_to, probabilities_of
from MedLLMSegLib.evaluation.domain_tokens import TokenSet, token_set
from MedLLMSegLib.metrics.classification_intervals import Estimate, classification_figures
from MedLLMSegLib.networks.classification.classifier import Classifier

MODEL, NEW, OLD = "cxr-pneumonia", "cxr_children", "cxr"
LABELS, DRAWS = (5, 20, 60), 10
ALLOWED = float("inf")  # the networks are measured before they may be undone
MOST_LOST = 0.01


@dataclass(frozen=True)
class Sets:
    """The images that are learnt from, the guard's, and the two that are measured."""

    adapt: TokenSet
    val: TokenSet
    new_test: TokenSet
    old_test: TokenSet


def run(
    data: PathLike,
    output: PathLike,
    model: str = MODEL,
    draws: int = DRAWS,
    progress: Report | None = None,
) -> Path:
    """Measure all arms; writes adaptation.json and adaptation.md, and returns the latter."""
    folder, report = make_folder(output), Progress.of(progress)
    loaded = load_classifier(model, "cpu")
    parts = report.part(0.0, 0.8).parts(4)
    new, old = Path(data) / NEW, Path(data) / OLD
    sets = Sets(
        token_set(loaded, new, "adapt", progress=parts[0]),
        token_set(loaded, old, "val", progress=parts[1]),
        token_set(loaded, new, "test", progress=parts[2]),
        token_set(loaded, old, "test", progress=parts[3]),
    )
    arms = [_arm("before", [loaded.network], [""], sets)]
    report("norm layers", 0.8)
    arms.append(_adapted_arm("norm layers, without labels", loaded.network, sets, None, 1))
    for number, labels in enumerate(LABELS):
        report(f"{labels} labels", 0.85 + 0.05 * number)
        arms.append(
            _adapted_arm(f"last layer, {labels} labels", loaded.network, sets, labels, draws)
        )
    found: Json = {"model": loaded.entry.id, "measured_model": loaded.sha256, "arms": arms}
    write_text(folder / "adaptation.json", json.dumps(found, indent=1) + "\n")
    report("done", 1.0)
    return write_text(folder / "adaptation.md", table(arms))


def _adapted_arm(
    name: str, network: Classifier, sets: Sets, labels: int | None, draws: int
) -> Json:
    networks, undone = [], []
    for draw in range(draws):
        options = AdaptOptions(labels=labels, draw=draw, most_lost=ALLOWED)
        adapted, _chosen = adapted_to(network, sets.adapt, sets.val, options)
        lost = adapted.before - adapted.after
        why = adapted.undone or ("the old domain" if lost > MOST_LOST else "")
        networks.append(network if adapted.undone else adapted.network)
        undone.append(why)
    return _arm(name, networks, undone, sets)


def _arm(name: str, networks: Sequence[Classifier], undone: Sequence[str], sets: Sets) -> Json:
    """Figures of an arm's networks, those of several draws averaged."""
    return {
        "arm": name,
        "draws": len(networks),
        "undone": [why for why in undone if why],
        "new": _auc(networks, sets.new_test),
        "old": _auc(networks, sets.old_test),
        "old_val": _auc(networks, sets.val),
    }


def _auc(networks: Sequence[Classifier], images: TokenSet) -> Json:
    answers = [(probabilities_of(network, images), None) for network in networks]
    auc = classification_figures(images.truth.numpy(), answers, images.groups)["auc"]
    single = [
        classification_figures(images.truth.numpy(), [a], images.groups, 2)["auc"].value
        for a in answers
    ]
    return {**auc.to_dict(), "lowest": float(np.min(single)), "highest": float(np.max(single))}


def table(arms: Sequence[Json]) -> str:
    """The arms as a Markdown table."""
    lines = [
        "| arm | draws | AUC, children's test | AUC, adults' test | adults' val | undone |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for arm in arms:
        cells = [_cell(arm[name], arm["draws"]) for name in ("new", "old", "old_val")]
        undone = "-" if arm["arm"] == "before" else f"{len(arm['undone'])} of {arm['draws']}"
        lines.append(f"| {arm['arm']} | {arm['draws']} | {' | '.join(cells)} | {undone} |")
    return "\n".join(lines) + "\n"


def _cell(figure: Json, draws: int) -> str:
    text = str(Estimate.from_dict(figure))
    if draws > 1:
        text += f", {figure['lowest']:.3f} to {figure['highest']:.3f} by draw"
    return text


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--output", type=Path, default=Path("runs/adaptation"))
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--draws", type=int, default=DRAWS)
    given = parser.parse_args(arguments)
    page = run(given.data, given.output, given.model, given.draws, ProgressLog())
    print(page.read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
