"""The measured part of docs/quality.md, made from what the bundles hold.

    python -m MedLLMSegLib.studies.quality.page --page docs/quality.md --images docs/images

writes the tables between the page's two marks, and the curves. The rest of the page is written by
hand.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.quality import LIGHTS
from MedLLMSegLib.core.safe_files import atomic_write, write_text
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.registry.catalogue import find_model, measured_model, read_metadata
from MedLLMSegLib.registry.own_figures import is_of
from MedLLMSegLib.reporting.markdown import p_value, signed, table

MODELS = ("hippocampus-t1", "cardiac-cine-mr", "brain-mr")
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
CURVES = "quality-roc.png"
SETS = {
    "all": "all scans",
    "known": "as they are, or corrupted as in the fit",
    "new": "as they are, or corrupted in new ways",
}
SMALL_BRAIN = 8  # structures: more are not listed one by one
EXPECTED, CONFIDENCE, CHANCE = "#1f5fa8", "#c2511b", "#b9bec6"


def stored_figures(models: Sequence[str] = MODELS) -> dict[str, Json]:
    """Model -> the entry "quality" of its bundle, of those that hold one of their own."""
    found = {}
    for name in models:
        metadata = read_metadata(find_model(name).folder)
        stored = metadata.get("quality")
        if stored and "figures" in stored and is_of(stored, measured_model(metadata)):
            found[name] = stored
    return found


def measured_part(stored: Mapping[str, Json]) -> str:
    """The tables as Markdown."""
    blocks = [_cases_table(stored), _auroc_table(stored), _structures_table(stored)]
    blocks += [_coverage_table(stored), _lights_table(stored)]
    return "\n\n".join(filter(None, blocks))


def _cases_table(stored: Mapping[str, Json]) -> str:
    rows = []
    for name, entry in stored.items():
        figures = entry["figures"]
        fitted, tested = figures["fitted_on"], figures["tested_on"]
        rows.append(
            [
                f"`{name}`",
                str(entry["norms"]["cases"]),
                _counted(fitted),
                f"{100 * figures['fit_bad_share']:.0f} %",
                _counted(tested),
                f"{100 * figures['all']['bad_share']:.0f} %",
            ]
        )
    head = ("model", "label maps", "fitted on", "under 0.8", "tested on", "under 0.8")
    return table(head, rows)


def _counted(counted: Json) -> str:
    refused = f", {counted['refused']} refused" if counted["refused"] else ""
    return f"{counted['scans']} scans of {counted['persons']} persons{refused}"


def _auroc_table(stored: Mapping[str, Json]) -> str:
    rows = []
    for name, entry in stored.items():
        figures = entry["figures"]
        for key, title in SETS.items():
            row = figures[key]
            if key != "all" and row["structures"] == figures["all"]["structures"]:
                continue  # the same scans
            rows.append(
                [
                    f"`{name}`, {title}",
                    str(row["structures"]),
                    _estimate(row["expected"]),
                    _estimate(row["confidence"]),
                    _difference(row),
                    f"{row['off']:.3f}",
                ]
            )
        within = figures["within"]
        rows.append(
            [
                f"`{name}`, within a structure (mean of {within['structures']})",
                "",
                f"{within['expected']:.3f}",
                f"{within['confidence']:.3f}",
                "",
                "",
            ]
        )
    head = (
        "AUROC of a Dice under 0.8",
        "structures",
        "expected Dice",
        "mean confidence alone",
        "difference",
        "expected Dice is off by",
    )
    return table(head, rows)


def _structures_table(stored: Mapping[str, Json]) -> str:
    rows = []
    for name, entry in stored.items():
        by_structure = entry["figures"]["by_structure"]
        if len(by_structure) > SMALL_BRAIN:
            continue
        for key, row in by_structure.items():
            rows.append(
                [
                    f"`{name}`, {key.replace('_', ' ')}",
                    f"{entry['structures'][key]['usual_dice']:.2f}",
                    _estimate(row["expected"]),
                    _estimate(row["confidence"]),
                    f"{row['off']:.3f}",
                ]
            )
    head = ("structure", "usual Dice", "expected Dice", "mean confidence alone", "off by")
    return table(head, rows) if rows else ""


def _coverage_table(stored: Mapping[str, Json]) -> str:
    rows = []
    for name, entry in stored.items():
        for key, title in (("coverage_plain", "as they are"), ("coverage", "and corrupted ones")):
            row = entry["figures"][key]
            held = "-" if row["coverage"] is None else f"{100 * row['coverage']:.0f} %"
            reach = "-" if row["factor"] is None else f"{100 * (row['factor'] - 1):.0f} %"
            if not row["intervals"]:
                continue
            rows.append(
                [f"`{name}`, {title}", f"{row['intervals']} of {row['of']}", str(row["persons"]),
                 held, reach]
            )  # fmt: skip
    head = ("90 % intervals of volumes", "intervals", "persons", "hold the volume", "upper end")
    return table(head, rows)


def _lights_table(stored: Mapping[str, Json]) -> str:
    titles = {
        "plain good": "scans as they are, Dice of 0.8 or more",
        "plain bad": "scans as they are, under 0.8",
        "corrupted good": "corrupted scans, Dice of 0.8 or more",
        "corrupted bad": "corrupted scans, under 0.8",
    }
    rows = [
        [f"`{name}`, {title}", *(str(entry["figures"]["lights"][key][light]) for light in LIGHTS)]
        for name, entry in stored.items()
        for key, title in titles.items()
        if sum(entry["figures"]["lights"][key].values())
    ]
    return table(("structures by their light", *LIGHTS), rows) if rows else ""


def _estimate(stored: Json) -> str:
    value, low, high = (stored[name] for name in ("value", "low", "high"))
    if value is None:
        return "-"
    return f"{value:.3f}" + ("" if low is None else f" ({low:.3f} to {high:.3f})")


def _difference(row: Json) -> str:
    stored = row.get("difference")
    if stored is None:
        return "-"
    text = signed(stored["value"], 3)
    if stored["low"] is not None:
        text += f" ({signed(stored['low'], 3)} to {signed(stored['high'], 3)})"
    return f"{text}, {p_value(stored['p'], 'p')}"


def with_part(page: str, part: str) -> str:
    """The page with another text between its marks. Raises `UserError` for a page without them."""
    before, begin, rest = page.partition(BEGIN)
    _old, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(f'The page has no lines "{BEGIN}" and "{END}"; add them where tables go.')
    return f"{before}{BEGIN}\n\n{part}\n\n{END}{after}"


def draw_curves(stored: Mapping[str, Json], path: Path) -> Path:
    """A PNG with a ROC curve of each model: of the expected Dice, and of the mean confidence."""
    figure = Figure(figsize=(3.6 * len(stored), 3.8), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(stored), squeeze=False)[0]
    for panel, (name, entry) in zip(panels, stored.items(), strict=True):
        figures = entry["figures"]
        panel.plot([0, 1], [0, 1], color=CHANCE, linewidth=1)
        for key, colour, style in (("expected", EXPECTED, "-"), ("confidence", CONFIDENCE, "--")):
            curve = figures["roc"][key]
            title = "expected Dice" if key == "expected" else "mean confidence"
            value = figures["all"][key]["value"]
            panel.plot(
                [x for x, _ in curve],
                [y for _, y in curve],
                style,
                color=colour,
                label=f"{title}: {value:.3f}" if value is not None else title,
            )
        panel.set(title=name, xlabel="false alarms", ylabel="low Dice that is told", aspect="equal")
        panel.legend(loc="lower right", fontsize=8, frameon=False)
    with atomic_write(path, ".png") as temporary:
        figure.savefig(temporary)
    return path


def main(arguments: Iterable[str] | None = None) -> int:
    """Write the tables and the curves."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--page", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True, help="the folder for the curves")
    options = parser.parse_args(None if arguments is None else list(arguments))
    try:
        stored = stored_figures()
        if not stored:
            raise UserError("No model holds a quality of its own; run `medllmseg quality` first.")
        page = options.page.read_text(encoding="utf-8")
        write_text(options.page, with_part(page, measured_part(stored)))
        draw_curves(stored, options.images / CURVES)
    except (UserError, OSError) as error:
        print(f"page: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
