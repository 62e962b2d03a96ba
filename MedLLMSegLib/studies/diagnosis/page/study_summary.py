"""The summary of a study's finished runs: each arm's figures, and the main arm against others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from MedLLMSegLib.core.types import Json
from MedLLMSegLib.metrics.auc_difference import AucDifference, auc_difference
from MedLLMSegLib.metrics.calibration import at_bound, image_calibration_error
from MedLLMSegLib.metrics.classification import area_under_roc
from MedLLMSegLib.metrics.classification_intervals import classification_figures
from MedLLMSegLib.metrics.multiple_tests import holm
from MedLLMSegLib.metrics.paired_tests import SIGNIFICANT
from MedLLMSegLib.metrics.subgroups import subgroup_table
from MedLLMSegLib.studies.diagnosis.classifier_study import ClassifierStudy
from MedLLMSegLib.studies.diagnosis.study_runs import answer_of


def summarise(
    study: ClassifierStudy,
    main: str,
    controls: Sequence[str],
    columns: Mapping[str, Sequence[str]] | None = None,
    detailed: Sequence[str] = (),
) -> dict:
    """The summary of what is finished, kept in the results under "summary"; nothing in it is an
    estimate of what is not.

    main: the arm that is compared with every other: with ``controls`` as one family of tests, with
    the rest as another (Holm's correction in each). columns: of the test cases, for the subgroups
    of the arms ``detailed``.
    """
    test, arms = study.splits["test"], {}
    for name in study.arms:
        finished = study.finished(name)
        if finished:
            arms[name] = _arm(study, name, finished)
            if name in detailed and columns:
                answers = [answer_of(result) for result in finished.values()]
                arms[name]["subgroups"] = subgroup_table(
                    test.target.numpy(), answers, test.groups, columns
                )
    summary = {
        "titles": {name: arm.title for name, arm in study.arms.items()},
        "notes": _notes(study),
        "main": main,
        "controls": list(controls),
        "seeds": list(study.seeds),
        "test_patients": len(set(test.groups)),
        "arms": arms,
        "against": _against(study, main, controls),
    }
    study.results.put("summary", summary)
    return summary


def _notes(study: ClassifierStudy) -> dict[str, str]:
    """What to know of an arm: its own note, a learning rate that was not chosen for it, and seeds
    without a temperature.
    """
    notes = {name: arm.note for name, arm in study.arms.items() if arm.note}
    for name, arm in study.arms.items():
        runs = study.finished(name)
        if unfitted := [seed for seed, run in runs.items() if not _has_temperature(run)]:
            said = (
                "no temperature could be fitted, as its search ended at a bound, so that the"
                f" calibration error says little (seed {', '.join(map(str, unfitted))})"
            )
            notes[name] = "; ".join(filter(None, [notes.get(name, ""), said]))
        if arm.config is None or arm.like or not runs or study.study.rate_chosen(name):
            continue
        rates = sorted({run["lr"] for run in runs.values()})
        said = f"at the learning rate {', '.join(f'{lr:g}' for lr in rates)}, none was tuned for it"
        notes[name] = "; ".join(filter(None, [notes.get(name, ""), said]))
    return notes


def _has_temperature(run: Json) -> bool:
    """Older results hold the bound itself."""
    return run["temperature"] is not None and not at_bound(run["temperature"])


def verdict(summary: dict) -> str:
    """ "not run", "helps" (the main arm is better than each control), or "not shown"."""
    against = summary["against"]
    tests = [against[name] for name in summary["controls"] if name in against]
    complete = [
        summary["arms"].get(name, {}).get("missing", 1) == 0
        for name in (summary["main"], *summary["controls"])
    ]
    if len(tests) < len(summary["controls"]) or not all(complete):
        return "not run"
    better = [
        test["value"] > 0 and test["p_holm"] is not None and test["p_holm"] < SIGNIFICANT
        for test in tests
    ]
    return "helps" if all(better) else "not shown"


def _arm(study: ClassifierStudy, name: str, finished: dict[int, dict]) -> dict:
    test, planned = study.splits["test"], len(study.seeds) if study.arms[name].config else 1
    truth, answers = test.target.numpy(), [answer_of(r) for r in finished.values()]
    found = {
        key: each.to_dict()
        for key, each in classification_figures(truth, answers, test.groups).items()
    }
    last = list(finished.values())[-1]
    return {
        "figures": found,
        "seed_auc": [round(area_under_roc(truth, p), 5) for p, _ in answers],
        "ece": round(float(np.mean([image_calibration_error(truth, p) for p, _ in answers])), 5),
        "val_auc": _mean(finished, "val_auc"),
        "lr": last.get("lr"),
        "epochs": last.get("epochs"),
        "seconds": _mean(finished, "seconds"),
        "parameters": last.get("parameters"),
        "missing": planned - len(finished),
    }


def _mean(finished: dict[int, dict], key: str) -> float | None:
    values = [r[key] for r in finished.values() if key in r]
    return round(float(np.mean(values)), 5) if values else None


def _against(study: ClassifierStudy, main: str, controls: Sequence[str]) -> dict[str, dict]:
    """The main arm minus every other, on the seeds that both have; a plain baseline stands for
    every seed.
    """
    own = study.finished(main)
    found: dict[str, Json] = {}
    test = study.splits["test"]
    truth = test.target.numpy()
    for name, arm in study.arms.items():
        other = study.finished(name)
        if arm.config is None and other:
            other = dict.fromkeys(own, next(iter(other.values())))
        seeds = sorted(set(own) & set(other))
        if name != main and seeds:
            first, second = (
                [answer_of(results[seed])[0] for seed in seeds] for results in (own, other)
            )
            found[name] = _as_json(auc_difference(truth, first, second, test.groups))
    families = ([n for n in found if n in controls], [n for n in found if n not in controls])
    for family in families:
        tested = [found[name] for name in family if found[name]["p"] is not None]
        corrected = holm(*([each[key] for each in tested] for key in ("p", "p_error")))
        for each, adjusted in zip(tested, corrected, strict=True):
            each["p_holm"], each["p_holm_error"] = adjusted.p, adjusted.error
    return {name: {"p_holm": None, "p_holm_error": None, **each} for name, each in found.items()}


def _as_json(difference: AucDifference) -> Json:
    """The fields of a difference; None stands for NaN."""
    fields: Json = {**vars(difference), "seeds": list(difference.seeds)}
    return {
        name: None if isinstance(value, float) and np.isnan(value) else value
        for name, value in fields.items()
    }
