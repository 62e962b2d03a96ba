"""The best run of a study as a bundle that `medllmseg diagnose` and the panel read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from MedLLMSegLib.diagnosis.classifier_description import ClassifierDescription
from MedLLMSegLib.registry.classifier_config import PreparationConfig
from MedLLMSegLib.studies.study.runs import Run
from MedLLMSegLib.training.classifier.export_classifier import export_classifier

from .classifier_study import ClassifierStudy


def export_study(
    study: ClassifierStudy, arm: str, preparation: PreparationConfig, about: ClassifierDescription
) -> Path | None:
    """The bundle of the seed of an arm that is the best on val, in OUTPUT/<study>/bundle; None
    where none is finished here.
    """
    runs = study.results.runs
    there = [
        run
        for run in (Run(arm, seed) for seed in study.seeds)
        if run.name in runs and study.weights(run).exists()
    ]
    if not there:
        return None
    best = max(there, key=lambda run: runs[run.name]["val_auc"])
    result = runs[best.name]
    chosen = {
        "epoch": result["best_epoch"],
        "seed": best.seed,
        "seeds": len(there),
        "trained_on": len(study.splits["train"]),
    }
    training = {**study.settings["loop"], "lr": result["lr"], "seed": best.seed}
    return export_classifier(
        study.output / "bundle",
        study.trained(best),
        study.seen(arm)["val"],
        preparation,
        replace(about, chosen=chosen, training=training),
        study.device,
    )
