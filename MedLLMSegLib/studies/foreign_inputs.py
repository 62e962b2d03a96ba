"""What each model that outlines says of scans that it was made for, and of all others.

    python -m MedLLMSegLib.studies.foreign_inputs --data ../shared/data --output runs/foreign \\
        --page docs/domain.md

Each input goes through each shipped segmenter as by `medllmseg segment`, in fp32, and gets one
answer: it is refused, told to be outside the model's domain, or comes with a light. What counts is
that no foreign input gets a green light. It can be stopped, and goes on where it was; an answer is
bound to the model with all that it judges by, and a refusal to the model alone, as nothing is
judged then. --more NAME=FOLDER adds a folder of scans of one's own, and --known measures nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.core.progress import Progress, ProgressLog, Report
from MedLLMSegLib.core.quality import AMBER, GREEN, RED
from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.reporting.markdown import table
from MedLLMSegLib.segmentation.loaded_segmenter import SegmenterModel, load_model
from MedLLMSegLib.segmentation.pipeline import segment

from .foreign_scans import OWN, ForeignScan, foreign_scans

MODELS = ("brain-mr", "hippocampus-t1", "cardiac-cine-mr")
REFUSED, OUTSIDE, SILENT = "refused", "outside", "green"
NOTED, UNJUDGED = "green with a note", "no light"
ANSWERS = (REFUSED, OUTSIDE, RED, AMBER, NOTED, UNJUDGED, SILENT)  # from the clearest word to none
ANY = ""  # of the judges
BEGIN, END = "<!-- foreign: begin -->", "<!-- foreign: end -->"


@dataclass(frozen=True)
class Answer:
    """What a model said of a scan.

    answer: one of `ANSWERS`. says: the first reason or note. distance: of its features, 1 is the
    limit of the domain; None of a model that knows none, and where the scan was refused.
    """

    scan: ForeignScan
    answer: str
    says: str
    distance: float | None = None


def measure(
    scans: Sequence[ForeignScan],
    model: SegmenterModel,
    output: Path,
    progress: Report | None = None,
) -> list[Answer]:
    """The answers of one model; those that a file in `output` holds are not asked for again."""
    path, judges = _file(output, model), _judges(model)
    known = _known(path)
    report = Progress.of(progress)
    for number, scan in enumerate(scans):
        if scan.key in known and known[scan.key]["judges"] in (ANY, judges):
            continue
        report(f"{model.entry.id}: {scan.key}", number / len(scans))
        told = _answer(scan, model)
        bound_to = ANY if told.answer == REFUSED else judges
        row = {"answer": told.answer, "says": told.says, "distance": told.distance}
        known[scan.key] = {**row, "judges": bound_to}
        output.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(known, indent=1))
    return finished(scans, model, output)


def finished(scans: Sequence[ForeignScan], model: SegmenterModel, output: Path) -> list[Answer]:
    """The answers that are known; of a model with other judges none but refusals."""
    known, judges = _known(_file(output, model)), _judges(model)
    return [
        Answer(scan, row["answer"], row["says"], row.get("distance"))
        for scan in scans
        if (row := known.get(scan.key)) and row["judges"] in (ANY, judges)
    ]


def _file(output: Path, model: SegmenterModel) -> Path:
    return output / f"{model.entry.id}-{model.sha256[:12]}.json"


def _known(path: Path) -> Json:
    known: Json = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return known


def _judges(model: SegmenterModel) -> str:
    """All that a model judges its answers by, as digests."""
    judges = (model.quality, model.domain, model.trained_range)
    return " ".join(each.digest if each else "none" for each in judges)


def _answer(scan: ForeignScan, model: SegmenterModel) -> Answer:
    try:
        found = segment(scan.read(), model, precision="fp32")
    except UserError as error:
        return Answer(scan, REFUSED, str(error))
    domain = found.domain
    distance = None if domain is None else round(domain.distance / domain.threshold, 3)
    return Answer(scan, *answer_of(found), distance)


def answer_of(found: Segmentation) -> tuple[str, str]:
    """(one of `ANSWERS`, the first reason or note) of a result."""
    note = found.notes[0] if found.notes else ""
    if found.domain is not None and found.domain.outside:
        return OUTSIDE, found.domain.reason
    if found.quality is None:
        return UNJUDGED, note
    light, reasons = found.quality.scan.light, found.quality.scan.reasons
    if light != GREEN:
        return light, reasons[0]
    return (NOTED, note) if note else (SILENT, "")


def page_part(answers: Mapping[str, Sequence[Answer]]) -> str:
    """The tables as Markdown. answers: model -> what it said so far."""
    kinds = list(dict.fromkeys(each.scan.kind for said in answers.values() for each in said))
    head = ["scans", *(f"`{model}`" for model in answers)]
    rows = []
    for kind in kinds:
        of_kind = {m: [a for a in said if a.scan.kind == kind] for m, said in answers.items()}
        rows.append([kind, *(_cell(of_kind[m], kind in OWN[m]) for m in answers)])
    green = {m: [a for a in said if _is_foreign_green(a, m)] for m, said in answers.items()}
    shown = {m: sum(a.scan.kind not in OWN[m] for a in said) for m, said in answers.items()}
    sentences = [_green_sentence(model, shown[model], found) for model, found in green.items()]
    return "\n\n".join([table(head, rows), "\n".join(sentences)])


def _is_foreign_green(answer: Answer, model: str) -> bool:
    return answer.answer in (SILENT, NOTED) and answer.scan.kind not in OWN[model]


def _cell(said: Sequence[Answer], is_own: bool) -> str:
    if not said:
        return "not shown yet"
    counts = Counter(each.answer for each in said)
    text = ", ".join(f"{counts[answer]} {answer}" for answer in ANSWERS if counts[answer])
    far = sorted(each.distance for each in said if each.distance is not None)
    if far:
        text += f" ({far[0]:.2f})" if far[0] == far[-1] else f" ({far[0]:.2f} to {far[-1]:.2f})"
    return f"*its own:* {text}" if is_own else text


def _green_sentence(model: str, shown: int, green: Sequence[Answer]) -> str:
    if not green:
        return f"- `{model}`: of {shown} foreign scans none has a green light."
    names = "; ".join(f'{each.scan.key} ("{each.says}")' for each in green)
    return f"- `{model}`: of {shown} foreign scans {len(green)} have a green light: {names}"


def write_page(page: Path, part: str) -> None:
    """Put the tables between the page's two marks. Raises `UserError` for a page without them."""
    text = page.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise UserError(f'"{page}" has no lines "{BEGIN}" and "{END}" to write between.')
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    write_text(page, f"{before}{BEGIN}\n\n{part}\n\n{END}{after}")


def main(arguments: Iterable[str] | None = None) -> int:
    """Measure, print the tables, and write them into the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of all data")
    parser.add_argument("--output", type=Path, required=True, help="for the answers")
    parser.add_argument("--more", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--model", action="append", help="an id or a bundle's folder")
    parser.add_argument(
        "--only", nargs="+", default=["*"], metavar="PATTERN", help='of scans, such as "*CT*"'
    )
    parser.add_argument("--known", action="store_true", help="measure nothing more")
    parser.add_argument("--page", type=Path, help="the page to write the tables into")
    options = parser.parse_args(None if arguments is None else list(arguments))
    try:
        more = [_named_folder(text) for text in options.more]
        scans = [
            scan
            for scan in foreign_scans(options.data, more)
            if any(fnmatch(scan.key, pattern) for pattern in options.only)
        ]
        if not scans:
            raise UserError(f'No scan is called "{", ".join(options.only)}".')
        answers = {}
        for name in options.model or MODELS:
            model = load_model(name, "cpu", "fp32")
            if not options.known:
                measure(scans, model, options.output, ProgressLog())
            answers[model.entry.id] = finished(scans, model, options.output)
        part = page_part(answers)
        print(part)
        if options.page:
            write_page(options.page, part)
    except (UserError, Cancelled, KeyboardInterrupt) as error:
        print(f"foreign_inputs: {error or 'stopped'}", file=sys.stderr)
        return 2
    return 0


def _named_folder(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not equals:
        raise UserError(f'"{text}" is not NAME=FOLDER.')
    return name, Path(folder)


if __name__ == "__main__":
    sys.exit(main())
