"""What a few labelled cases give, fine-tuned from a model and from nothing: trained, measured, written into docs/train.md.

    python -m MedLLMSegLib.few_cases --data runs/acdc --start hippocampus-t1 --output runs/few-cases \\
        --spacing 10 2 2 --window 10 80 80

It can be stopped at any moment and goes on where it was; what has not been run says so on the page.
"""
from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from .errors import Progress, UserError
from .evaluate import How, evaluate
from .outputs import make_folder, write_text
from .training.session import TrainRequest, train_model

LOOKS = 5  # at the val cases in each training: these are many more than the few that are trained on
BEGIN, END = "<!-- few-cases: filled by python -m MedLLMSegLib.few_cases -->", "<!-- few-cases: end -->"
RESULTS = "few-cases.json"


@dataclass(frozen=True)
class Plan:
    """data: labelled cases with train, val and test splits. start: the model to fine-tune. counts: training cases.

    spacing, window: (k, j, i) over the plan; None leaves it. preset: the network that begins from nothing.
    Both ways get the same cases, the same steps and each its own usual learning rate; val chooses the best weights.
    """

    data: str
    start: str
    counts: tuple[int, ...]
    seeds: tuple[int, ...]
    steps: int
    spacing: tuple[float, ...] | None = None
    window: tuple[int, ...] | None = None
    preset: str = "medvisionllama-fine"

    def runs(self) -> list[tuple[str, int, int]]:
        """(way, cases, seed) of every training; whole seeds first, so that the picture is soon complete."""
        return [(way, count, seed) for seed in self.seeds for count in self.counts for way in ("tuned", "new")]


def run(plan: Plan, output: Path, docs: Path, device: str = "auto", progress: Progress | None = None) -> dict:
    """Train and measure what is not done yet; returns and keeps {run's name: {"dice", "low", "high", ...}}."""
    about = {"data": Path(plan.data).name, "start": plan.start, "steps": plan.steps, "preset": plan.preset,
             "spacing": plan.spacing and list(plan.spacing), "window": plan.window and list(plan.window)}
    found = _kept(docs / RESULTS, about)
    names = plan.runs()
    for n, (way, count, seed) in enumerate(names):
        name = f"{way}-{count}-{seed}"
        if name in found:
            continue
        tell = (lambda text, f, n=n, name=name: progress(f"{name}: {text}", (n + f) / len(names))) if progress else None
        request = TrainRequest(plan.data, str(output / name), name=name, start=plan.start if way == "tuned" else None, cases=count,
                               steps=plan.steps, spacing=plan.spacing, window=plan.window, preset=plan.preset, patience=0,
                               validations=LOOKS, seed=seed)
        bundle = train_model(request, device, tell, say=lambda text: None)
        summary = evaluate(bundle, plan.data, output / name / "test.csv", how=How(device))
        found[name] = {"dice": summary["group_means"]["dice"], "hd95_mm": summary["group_means"]["hd95_mm"],
                       "cases": summary["cases"], "groups": summary["groups"]}
        write_text(make_folder(docs) / RESULTS, json.dumps({"about": about, "runs": found}, indent=1) + "\n")
    return found


def _kept(path: Path, about: dict) -> dict:
    if not path.exists():
        return {}
    kept = json.loads(path.read_text(encoding="utf-8"))
    if kept["about"] != about:
        raise UserError(f'"{path}" holds results of other settings ({kept["about"]}, now {about}); remove it or use another --docs.')
    return kept["runs"]


def page(plan: Plan, found: dict, command: str) -> str:
    """The table in Markdown: mean Dice over patients on the test cases, each seed's and their mean."""
    rows = ["| training cases | from nothing | fine-tuned | gain |", "|---|---|---|---|"]
    for count in plan.counts:
        cells = [[found[name]["dice"]["mean"] for seed in plan.seeds if (name := f"{way}-{count}-{seed}") in found]
                 for way in ("new", "tuned")]
        gain = f"{_mean(cells[1]) - _mean(cells[0]):+.3f}" if all(len(c) == len(plan.seeds) for c in cells) else "not run"
        rows.append(f"| {count} | {_cell(cells[0])} | {_cell(cells[1])} | {gain} |")
    groups = sorted({each["groups"] for each in found.values()})
    tested = f"{groups[0]} test patients" if groups else "the test cases"
    return "\n".join([
        f"Mean Dice on {tested} of `{Path(plan.data).name}`, `{plan.start}` fine-tuned against training from nothing "
        f"(`{plan.preset}`), {plan.steps} steps each on the same cases" + (f", mean of {len(plan.seeds)} seeds (each seed's figure in brackets)"
                                                        if len(plan.seeds) > 1 else ", one seed") + ":", "", *rows, "",
        f"Printed by `{command}`."])


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _cell(values: list[float]) -> str:
    if not values:
        return "not run"
    each = f" ({', '.join(f'{v:.3f}' for v in values)})" if len(values) > 1 else ""
    return f"{_mean(values):.3f}{each}"


def fill(path: Path, text: str) -> None:
    """Put the table between its marks in a page."""
    before = path.read_text(encoding="utf-8")
    if BEGIN not in before or END not in before:
        raise UserError(f'"{path}" has no place for the table; it needs the lines {BEGIN} and {END}.')
    head, rest = before.split(BEGIN, 1)
    write_text(path, f"{head}{BEGIN}\n{text}\n{END}{rest.split(END, 1)[1]}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--start", default="hippocampus-t1")
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument("--counts", type=int, nargs="+", default=[3, 5, 10, 20])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--spacing", type=float, nargs=3)
    parser.add_argument("--window", type=int, nargs=3)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    plan = Plan(options.data, options.start, tuple(options.counts), tuple(range(options.seeds)), options.steps,
                options.spacing and tuple(options.spacing), options.window and tuple(options.window))
    over = "".join(f" --{name} {' '.join(f'{n:g}' for n in value)}" for name in ("spacing", "window") if (value := getattr(plan, name)))
    found = run(plan, options.output, options.docs, options.device,
                lambda text, fraction: print(f"\r\033[K{100 * fraction:5.1f} %  {text}", end="", file=sys.stderr, flush=True))
    text = page(plan, found, f"python -m MedLLMSegLib.few_cases --data {options.data} --start {options.start} --output "
                             f"{options.output} --steps {options.steps} --seeds {options.seeds}{over}")
    fill(options.docs / "train.md", text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
