"""What a network's features know: a t-SNE map to look at, and a number for what such a map only
suggests.

A map can show islands where there are none and hide what is there (Wattenberg et al., How to Use
t-SNE Effectively, 2016), so beside it stands how well a column (class, view, scanner) can be told
from the features themselves, by cross-validated logistic regression over whole patients, against
chance.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.metrics.classification_intervals import Estimate, classification_figures

FOLDS = 5


@dataclass(frozen=True)
class Told:
    """How well a column can be told from features. n: cases. values: name -> how many. chance:
    accuracy of always saying the commonest value; the AUC of chance is 0.5. accuracy, auc:
    cross-validated, with 95 % intervals over patients.
    """

    n: int
    values: dict[str, int]
    chance: float
    accuracy: Estimate
    auc: Estimate

    def to_dict(self) -> dict:
        return {
            "n": self.n,
            "values": self.values,
            "chance": round(self.chance, 5),
            "accuracy": self.accuracy.to_dict(),
            "auc": self.auc.to_dict(),
        }


def map_features(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """t-SNE (openTSNE; van der Maaten and Hinton 2008) of features (n, f), each scaled to variance
    1 -> (n, 2).

    The perplexity is 30, or less for fewer than 92 cases. Raises `UserError` for fewer than eight,
    or without openTSNE.
    """
    if len(features) < 8:
        raise UserError(
            f"A t-SNE map of {len(features)} images says nothing, and 8 at least are needed; add"
            " images."
        )
    try:
        from openTSNE import TSNE
    except ImportError as error:
        raise UserError(
            "A t-SNE map needs the package openTSNE, which is not installed; run "
            '`pip install "medllmseg[classify]"`.'
        ) from error
    scaled = StandardScaler().fit_transform(np.asarray(features, np.float64))
    perplexity = min(30.0, (len(features) - 2) / 3)
    return np.asarray(
        TSNE(perplexity=perplexity, initialization="pca", random_state=seed, n_jobs=1).fit(scaled)
    )


def tell_from_features(
    features: np.ndarray, values: Sequence[str], groups: Sequence[Hashable], seed: int = 0
) -> Told | None:
    """How well ``values`` (n,) can be told from ``features`` (n, f); None where there is nothing to
    tell.

    Five folds over whole groups (patients), stratified; values held by fewer than five groups are
    left out.
    """
    values, groups = np.asarray(values), np.asarray([str(g) for g in groups])
    kept = [
        v
        for v in sorted(set(values.tolist()))
        if v != "" and len(set(groups[values == v])) >= FOLDS
    ]
    if len(kept) < 2:
        return None
    there = np.isin(values, kept)
    features, groups = np.asarray(features, np.float64)[there], groups[there]
    target = np.searchsorted(kept, values[there])
    probabilities = np.zeros((len(target), len(kept)))
    for train, test in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(
        features, target, groups
    ):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000)).fit(
            features[train], target[train]
        )
        probabilities[np.ix_(test, model.classes_)] = model.predict_proba(features[test])
    counts = np.bincount(target, minlength=len(kept))
    found = classification_figures(target, [(probabilities, None)], groups)
    return Told(
        len(target),
        dict(zip(kept, counts.tolist())),
        float(counts.max() / len(target)),
        found["accuracy"],
        found["auc"],
    )
