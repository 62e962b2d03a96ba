"""What the page says of the X-rays besides the arms: the data, the shortcut that the view is, and who is served how well."""
from __future__ import annotations

from typing import Mapping, Sequence

import numpy as np

from .arms import CONTROLS, MAIN
from .study import Study
from .subgroups import age_band, shortcut
from .summary import summarise
from .table import ImageCase

DETAILED = (MAIN, "linear")


def summarise_cxr(study: Study, cases: Mapping[str, Sequence[ImageCase]]) -> dict:
    """The study's summary with subgroups, and its introduction, from what is finished."""
    study.results.put(study.name, "text", _introduction(study, cases))
    return summarise(study, MAIN, CONTROLS, subgroup_columns(cases["test"]), DETAILED)


def subgroup_columns(cases: Sequence[ImageCase]) -> dict[str, list[str]]:
    """Those of view, age and sex that the table has, ages in bands of twenty years."""
    return {name: [age_band(c.columns[name]) if name == "age" else c.columns[name] for c in cases]
            for name in ("view", "age", "sex") if name in cases[0].columns}


def _introduction(study: Study, cases: Mapping[str, Sequence[ImageCase]]) -> list[str]:
    counts = ", ".join(f"{len(each)} {name}" for name, each in cases.items())
    patients = ", ".join(f"{len({c.group for c in each})} {name}" for name, each in cases.items())
    loop = study.settings["loop"]
    text = (f"Images: {counts}; patients: {patients}. Every arm: {study.settings['key']['size']} pixels, {loop['epochs']} epochs of "
            f"AdamW (batch {loop['batch']}, weight decay {loop['weight_decay']:g}, cosine with {loop['warmup_epochs']} epochs of "
            f"warm-up), {loop['views']} views of each training image through a frozen encoder. Learning rate chosen on val from "
            f"{', '.join(f'{r:g}' for r in study.rates)} with the first seed; arms that only change a part of PneumoLLM take its own.")
    return [text, *_shortcut(cases)]


def _shortcut(cases: Mapping[str, Sequence[ImageCase]]) -> list[str]:
    if "view" not in cases["train"][0].columns:
        return []
    truth = {name: np.array([c.target for c in each]) for name, each in cases.items()}
    view = {name: [c.columns["view"] for c in each] for name, each in cases.items()}
    on_test = shortcut(view["train"], truth["train"], view["test"], truth["test"])
    every = [np.concatenate(list(truth.values())), [v for each in view.values() for v in each]]
    on_all = shortcut(view["train"], truth["train"], every[1], every[0])
    return [f"**The view is a shortcut.** Guessing from the view alone (the commoner class of each view among the training images) "
            f"is right in {100 * on_test.accuracy:.1f} % of the {on_test.n} test images and {100 * on_all.accuracy:.1f} % of all "
            f"{on_all.n} (AUC {on_test.auc:.3f} and {on_all.auc:.3f}); the data's README states 61.7 %. A figure that does not "
            "stand clearly above that says nothing of lungs, so the subgroups below are by view."]
