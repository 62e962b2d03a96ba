"""Tables of docs/diagnosis.md: subgroups, and the costs of each arm."""

from __future__ import annotations

from MedLLMSegLib.core.types import Json
from MedLLMSegLib.metrics.classification_intervals import Estimate
from MedLLMSegLib.reporting.markdown import table
from MedLLMSegLib.studies.study.page import NOT_RUN


def subgroup_sections(summary: Json) -> list[str]:
    """A table of subgroups for each arm that has them, with its introduction."""
    parts = []
    for name, found in summary["arms"].items():
        if "subgroups" in found:
            rows = [
                [
                    f"{r['column']} {r['value']}",
                    str(r["n"]),
                    str(r["patients"]),
                    f"{100 * r['positive']:.0f} %",
                    *(
                        estimate_text(r[k])
                        for k in ("auc", "sensitivity", "specificity", "accuracy")
                    ),
                ]
                for r in found["subgroups"]
            ]
            parts += [
                f"Subgroups of `{name}`, each seed at its one threshold:",
                table(
                    [
                        "subgroup",
                        "images",
                        "patients",
                        "positive",
                        "AUC",
                        "sensitivity",
                        "specificity",
                        "accuracy",
                    ],
                    rows,
                ),
            ]
    return parts


def cost_section(summary: Json, measured: Json) -> list[str]:
    """The table of sizes, times and memory, with its introduction; empty without any."""
    rows = []
    for name in summary["titles"]:
        trained, cost = summary["arms"].get(name), measured.get(name)
        if (trained is None or trained["parameters"] is None) and cost is None:
            continue
        rows.append([f"`{name}`", *_cost_cells(trained, cost)])
    if not rows:
        return []
    return [
        (
            "Size, time and memory. Seconds of a training are wall time beside other work; the last"
            " three columns are medians of a fresh process on random images (`--measure`), with the"
            " libraries in the memory:"
        ),
        table(
            [
                "arm",
                "trained parameters",
                "frozen",
                "epochs",
                "learning rate",
                "s a training",
                "s a step",
                "ms an image",
                "peak MB",
            ],
            rows,
        ),
    ]


def _cost_cells(trained: Json | None, cost: Json | None) -> list[str]:
    """Parameters, training and measured cost of one arm, of which one at least is known."""
    parameters = (cost or trained or {})["parameters"]
    training = [NOT_RUN] * 3
    if trained:
        training = [f"{trained['epochs']}", f"{trained['lr']:g}", f"{trained['seconds']:.0f}"]
    measured = [NOT_RUN] * 3
    if cost:
        measured = [
            f"{cost['step_seconds']:.2f}",
            f"{cost['image_ms']:.0f}",
            f"{cost['peak_mb']:.0f}",
        ]
    return [f"{parameters['trained']:,}", f"{parameters['frozen']:,}", *training, *measured]


def estimate_text(estimate: Json) -> str:
    """A figure with its interval."""
    return str(Estimate.from_dict(estimate))
