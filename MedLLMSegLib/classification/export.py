"""From a finished training to a bundle that `medllmseg diagnose` and the panel read."""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..diagnosis.about import About
from ..diagnosis.bundle import rounded_as_stored, write_classifier
from ..diagnosis_config import PreparationConfig
from ..networks.classifier import Classifier
from .examples import Examples, logits_of
from .measures import area_under_roc, calibrated, fit_temperature, youden_threshold
from .study import Run, Study


def export_classifier(folder, network: Classifier, val: Examples, preparation: PreparationConfig, about: About,
                      device="cpu") -> Path:
    """Write a trained network as a bundle, its temperature and threshold taken on val with the weights as they are stored.

    about: facts for the card; its temperature, threshold and val AUC are filled in here.
    """
    rounded_as_stored(network)
    logits, truth = logits_of(network, val, device=device), val.target.numpy()
    temperature = fit_temperature(logits, truth)
    probabilities = calibrated(logits, temperature)
    threshold = youden_threshold(truth, probabilities[:, 1]) if probabilities.shape[1] == 2 else None
    chosen = {**about.chosen, "chosen_on": len(val), "val_auc": round(area_under_roc(truth, probabilities), 5)}
    filled = replace(about, temperature=temperature, threshold=threshold, chosen=chosen)
    return write_classifier(folder, network.cpu(), preparation, filled)


def export_study(study: Study, arm: str, preparation: PreparationConfig, about: About) -> Path | None:
    """The bundle of the seed of an arm that is the best on val, in OUTPUT/<study>/bundle; None where none is finished here."""
    runs = study.results.runs(study.name)
    there = [run for run in (Run(arm, seed) for seed in study.seeds) if run.name in runs and study.weights(run).exists()]
    if not there:
        return None
    best = max(there, key=lambda run: runs[run.name]["val_auc"])
    result = runs[best.name]
    chosen = {"epoch": result["best_epoch"], "seed": best.seed, "seeds": len(there), "trained_on": len(study.parts["train"])}
    training = {**study.settings["loop"], "lr": result["lr"], "seed": best.seed}
    return export_classifier(study.output / "bundle", study.trained(best), study.seen(arm)["val"], preparation,
                             replace(about, chosen=chosen, training=training), study.device)
