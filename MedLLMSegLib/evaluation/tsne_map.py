"""A t-SNE map of a network's features, and how well a column can be predicted from them.

A map can show islands where there are none and hide real ones (Wattenberg et al., How to Use t-SNE
Effectively, 2016). So it comes with a figure: how well a column (class, view, scanner) can be
predicted from the features, by cross-validated logistic regression over whole patients, against
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
from MedLLMSegLib.core.types import Array, Json
from MedLLMSegLib.metrics.classification_intervals import Estimate, classification_figures

FOLDS = 5


@dataclass(frozen=True)
class ColumnPrediction:
    """How well a column can be predicted from features.

    n: cases. values: name -> number of cases. chance: the accuracy of always predicting the most
    frequent value; the AUC of chance is 0.5. accuracy, auc: cross-validated, with 95 % intervals
    over patients.
    """

    n: int
    values: dict[str, int]
    chance: float
    accuracy: Estimate
    auc: Estimate

    def to_dict(self) -> Json:
        """Plain JSON types."""
        return {
            "n": self.n,
            "values": self.values,
            "chance": round(self.chance, 5),
            "accuracy": self.accuracy.to_dict(),
            "auc": self.auc.to_dict(),
        }


def map_features(features: Array, seed: int = 0) -> Array:
    """t-SNE of features (n, f), each scaled to variance 1 -> (n, 2).

    The perplexity is 30, or less for fewer than 92 cases. Raises `UserError` for fewer than eight,
    or without openTSNE. Source: van der Maaten and Hinton 2008.
    """
    if len(features) < 8:
        raise UserError(
            f"A t-SNE map of {len(features)} images shows nothing, and at least 8 are needed; add"
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
    tsne = TSNE(perplexity=perplexity, initialization="pca", random_state=seed, n_jobs=1)
    return np.asarray(tsne.fit(scaled))


def predict_from_features(
    features: Array, values: Sequence[str], groups: Sequence[Hashable], seed: int = 0
) -> ColumnPrediction | None:
    """How well ``values`` (n,) can be predicted from ``features`` (n, f).

    Five stratified folds over whole groups (patients). Empty values, and those held by fewer than
    five groups, are left out; None where fewer than two values remain.
    """
    texts, group_names = np.asarray(values), np.asarray([str(g) for g in groups])
    kept = [
        value
        for value in sorted(set(texts.tolist()))
        if value != "" and len(set(group_names[texts == value])) >= FOLDS
    ]
    if len(kept) < 2:
        return None
    chosen = np.isin(texts, kept)
    target = np.searchsorted(kept, texts[chosen])
    chosen_groups = group_names[chosen]
    probabilities = _cross_validated_probabilities(
        np.asarray(features, np.float64)[chosen], target, chosen_groups, seed
    )
    counts = np.bincount(target, minlength=len(kept))
    figures = classification_figures(target, [(probabilities, None)], chosen_groups.tolist())
    return ColumnPrediction(
        n=len(target),
        values=dict(zip(kept, counts.tolist(), strict=True)),
        chance=float(counts.max() / len(target)),
        accuracy=figures["accuracy"],
        auc=figures["auc"],
    )


def _cross_validated_probabilities(
    features: Array, target: Array, groups: Array, seed: int
) -> Array:
    """(n, classes): each case's probabilities, by a model that did not see its group."""
    probabilities = np.zeros((len(target), int(target.max()) + 1))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for train, test in folds.split(features, target, groups):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
        model.fit(features[train], target[train])
        probabilities[np.ix_(test, model.classes_)] = model.predict_proba(features[test])
    return probabilities
