"""Plain baselines: logistic regression on a table of features, its penalty chosen on val."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from MedLLMSegLib.metrics.classification import area_under_roc

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # scikit-learn's C, the inverse of the penalty


def best_logistic(
    train: np.ndarray, truth: np.ndarray, val: np.ndarray, val_truth: np.ndarray, test: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Logits of val and of test (n, classes) by the regression with the best val AUC, the strongest
    penalty of equals.

    train, val, test: features (n, f), NaN taken as the training mean. truth: (n,) classes 0, 1, ...
    without a gap.
    """
    mean = np.nanmean(train, axis=0)
    train, val, test = (np.where(np.isfinite(x), x, mean) for x in (train, val, test))
    models = []
    for c in PENALTIES:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", ConvergenceWarning
            )  # a weak penalty need not converge to be judged on val
            models.append(
                make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000)).fit(
                    train, truth
                )
            )
    best = max(models, key=lambda m: area_under_roc(val_truth, m.predict_proba(val)))
    return tuple(_logits(best, x) for x in (val, test))


def _logits(model, features: np.ndarray) -> np.ndarray:
    """log-probabilities, which softmax turns back."""
    return np.log(np.clip(model.predict_proba(features), 1e-12, 1.0))
