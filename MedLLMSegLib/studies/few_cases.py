"""What a few labelled cases give, fine-tuned from a model and from nothing: trained, measured,
written into docs/train.md.

    python -m MedLLMSegLib.studies.few_cases --data runs/acdc --start hippocampus-t1 --output
    runs/few-cases \\
        --spacing 10 2.5 2.5 --window 10 64 64 --lr 3e-3

It can be stopped at any moment and goes on where it was; what has not been run says so on the page.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Report
from MedLLMSegLib.core.safe_files import make_folder, write_text
from MedLLMSegLib.evaluation.evaluate_segmenter import EvaluationOptions, evaluate
from MedLLMSegLib.evaluation.scores import read_table
from MedLLMSegLib.metrics.paired_tests import Comparison, paired_tests
from MedLLMSegLib.reporting.markdown import p_value, signed, table
from MedLLMSegLib.training.checkpoint import read_plan
from MedLLMSegLib.training.segmenter.request import TrainRequest
from MedLLMSegLib.training.segmenter.segmenter_loop import TrainConfig
from MedLLMSegLib.training.segmenter.segmenter_session import FINE_TUNING_LR, train_model

LOOKS = 3  # at the val cases in each training: these are many more than the few that are trained on
COUNTS = [3, 5, 10, 20]
WAYS = ("tuned", "new")
NOT_RUN = "not run"
BEGIN, END = (
    "<!-- few-cases: filled by python -m MedLLMSegLib.studies.few_cases -->",
    "<!-- few-cases: end -->",
)
RESULTS = "few-cases.json"


@dataclass(frozen=True)
class Plan:
    """data: labelled cases with train, val and test splits. start: the model to fine-tune. counts:
    training cases.

    spacing, window: (k, j, i) over the plan; None leaves it. preset: the network that begins from
    nothing. lr: learning rate of both ways; None is each way's usual one. Both get the same cases
    and steps; val chooses the best weights.
    """

    data: str
    start: str
    counts: tuple[int, ...]
    seeds: tuple[int, ...]
    steps: int
    spacing: tuple[float, ...] | None = None
    window: tuple[int, ...] | None = None
    preset: str = "medvisionllama-fine"
    lr: float | None = None

    def about(self) -> dict:
        """What all runs share: results of other settings are another table."""
        return {
            "data": Path(self.data).name,
            "start": self.start,
            "steps": self.steps,
            "preset": self.preset,
            "spacing": self.spacing and list(self.spacing),
            "window": self.window and list(self.window),
            "optimiser": TrainRequest.optimiser,
            "lr": self.lr,
            "looks": LOOKS,
        }

    def runs(self) -> list[tuple[str, int, int]]:
        """(way, cases, seed) of every training; whole seeds first, so that the picture is soon
        complete.
        """
        return [(way, count, seed) for seed in self.seeds for count in self.counts for way in WAYS]


def run(
    plan: Plan, output: Path, docs: Path, device: str = "auto", progress: Report | None = None
) -> dict:
    """Train and measure what is not done yet; returns and keeps {run's name: {"dice", "low",
    "high", ...}}.
    """
    about = plan.about()
    found = _kept(docs / RESULTS, about)
    names = plan.runs()
    for n, (way, count, seed) in enumerate(names):
        name = f"{way}-{count}-{seed}"
        if name in found:
            continue
        tell = (
            (lambda text, f, n=n, name=name: progress(f"{name}: {text}", (n + f) / len(names)))
            if progress
            else None
        )
        network = {"start": plan.start} if way == "tuned" else {"preset": plan.preset}
        request = TrainRequest(
            plan.data,
            str(output / name),
            name=name,
            cases=count,
            steps=plan.steps,
            spacing=plan.spacing,
            window=plan.window,
            patience=0,
            validations=LOOKS,
            seed=seed,
            lr=plan.lr,
            **network,
        )
        bundle = train_model(request, device, tell, say=lambda text: None)
        summary = evaluate(bundle, plan.data, output / name / "test.csv", options=EvaluationOptions(device))
        found[name] = {
            "dice": summary["group_means"]["dice"],
            "hd95_mm": summary["group_means"]["hd95_mm"],
            "cases": summary["cases"],
            "groups": summary["groups"],
            "group_of": summary["group_of"],
            "table": _dice_of(output / name / "test.csv"),
            "chosen_on": (read_plan(output / name) or {}).get("chosen_on"),
        }
        write_text(
            make_folder(docs) / RESULTS,
            json.dumps({"about": about, "runs": found}, indent=1) + "\n",
        )
    return found


def _kept(path: Path, about: dict) -> dict:
    if not path.exists():
        return {}
    kept = json.loads(path.read_text(encoding="utf-8"))
    if kept["about"] != about:
        raise UserError(
            f'"{path}" holds results of other settings ({kept["about"]}, now {about}); remove it or'
            " use another --docs."
        )
    return kept["runs"]


def _dice_of(path: Path) -> dict:
    """case -> Dice of each structure (None where neither label map has it) of an evaluation's
    table.
    """
    return {
        case: {
            name: None if math.isnan(value) else value
            for name, value in row.items()
            if name.startswith("dice_")
        }
        for case, row in read_table(path).items()
    }


def gains(plan: Plan, found: dict) -> dict[int, Comparison]:
    """Fine-tuned against from nothing for each count of which all seeds were run: over patients,
    Holm's correction over the counts.
    """
    arms, groups = {}, {}
    for count in plan.counts:
        pair = {way: [found.get(f"{way}-{count}-{seed}") for seed in plan.seeds] for way in WAYS}
        if None not in pair["tuned"] + pair["new"]:
            for way, runs in pair.items():
                arms[f"{way} {count}"] = [
                    {
                        case: {
                            name: math.nan if value is None else value
                            for name, value in row.items()
                        }
                        for case, row in run["table"].items()
                    }
                    for run in runs
                ]
                groups |= {case: group for run in runs for case, group in run["group_of"].items()}
    names = list(arms)
    tests = paired_tests(arms, groups, pairs=list(zip(names[::2], names[1::2]))) if arms else []
    return {int(test.first.split()[1]): test for test in tests}


def page(plan: Plan, found: dict, command: str) -> str:
    """The table in Markdown: mean Dice over patients on the test cases, each seed's and their
    mean, and the gain.
    """
    tests = gains(plan, found)
    rows = []
    for count in plan.counts:
        new, tuned = (
            [
                found[name]["dice"]["mean"]
                for seed in plan.seeds
                if (name := f"{way}-{count}-{seed}") in found
            ]
            for way in ("new", "tuned")
        )
        t = tests.get(count)
        rows.append(
            [
                str(count),
                _cell(new),
                _cell(tuned),
                *(
                    [NOT_RUN] * 2
                    if t is None
                    else [
                        f"{signed(t.difference, 3)} ({signed(t.low, 3)} to {signed(t.high, 3)})",
                        p_value(t.p_holm),
                    ]
                ),
            ]
        )
    return "\n".join(
        [
            f"Mean Dice on {_tested(found)} of `{Path(plan.data).name}`, `{plan.start}` fine-tuned"
            f" against training from nothing (`{plan.preset}`), {plan.steps} steps each on the same"
            " cases, "
            + (
                f"mean of {len(plan.seeds)} seeds (each seed's figure in brackets):"
                if len(plan.seeds) > 1
                else "one seed, so that other draws of the cases may give other figures:"
            ),
            "",
            table(
                [
                    "training cases",
                    "from nothing",
                    "fine-tuned",
                    "gain (95 % over patients)",
                    "p (Holm)",
                ],
                rows,
            ),
            "",
            (
                f"{_rate(plan)} {_chosen(found)}Intervals: bootstrap over patients; p: Wilcoxon"
                " signed-rank over patients, Holm's correction over the rows."
            ),
            "",
            f"Printed by `{command}`.",
        ]
    )


def _rate(plan: Plan) -> str:
    if plan.lr:
        return f"Both ways with the learning rate {plan.lr:g}."
    return (
        f"Each way with its usual learning rate ({FINE_TUNING_LR[TrainRequest.optimiser]:g}"
        f" fine-tuned, {TrainConfig().lr:g} from nothing)."
    )


def _tested(found: dict) -> str:
    groups = {each["groups"] for each in found.values()}
    return f"{groups.pop()} test patients" if groups else "the test cases"


def _chosen(found: dict) -> str:
    """What a user with so few cases would not have."""
    counts = {each.get("chosen_on") for each in found.values()} - {None}
    if not counts:
        return ""
    return (
        f"The best weights were chosen at {LOOKS} looks at {counts.pop()} labelled val cases"
        " besides, more than someone with so few cases has. "
    )


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _cell(values: list[float]) -> str:
    if not values:
        return NOT_RUN
    each = f" ({', '.join(f'{v:.3f}' for v in values)})" if len(values) > 1 else ""
    return f"{_mean(values):.3f}{each}"


def fill(path: Path, text: str) -> None:
    """Put the table between its marks in a page."""
    head, rest = _around(path)
    write_text(path, f"{head}{BEGIN}\n{text}\n{END}{rest}")


def _around(path: Path) -> tuple[str, str]:
    """What stands before and after the table; `UserError` where it has no place."""
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    if BEGIN not in before or END not in before:
        raise UserError(
            f'"{path}" has no place for the table; it needs the lines {BEGIN} and {END}.'
        )
    head, rest = before.split(BEGIN, 1)
    return head, rest.split(END, 1)[1]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--start", default="hippocampus-t1")
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument(
        "--page", action="store_true", help="only write the table of what is finished"
    )
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--spacing", type=float, nargs=3)
    parser.add_argument("--window", type=int, nargs=3)
    parser.add_argument("--lr", type=float, help="of both ways (default: the usual one of each)")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    try:
        print(_run_and_fill(options))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _run_and_fill(options) -> str:
    plan = Plan(
        options.data,
        options.start,
        tuple(options.counts),
        tuple(range(options.seeds)),
        options.steps,
        options.spacing and tuple(options.spacing),
        options.window and tuple(options.window),
        lr=options.lr,
    )
    given = {
        "counts": plan.counts if options.counts != COUNTS else None,
        "spacing": plan.spacing,
        "window": plan.window,
        "lr": plan.lr and (plan.lr,),
    }
    over = "".join(
        f" --{name} {' '.join(f'{n:g}' for n in value)}" for name, value in given.items() if value
    )
    command = (
        f"python -m MedLLMSegLib.studies.few_cases --data {options.data} --start {options.start}"
        f" --output {options.output} --steps {options.steps} --seeds {options.seeds}{over}"
    )
    place = options.docs / "train.md"
    _around(place)  # before hours of work
    found = (
        _kept(options.docs / RESULTS, plan.about())
        if options.page
        else run(
            plan,
            options.output,
            options.docs,
            options.device,
            lambda text, fraction: print(
                f"\r\033[K{100 * fraction:5.1f} %  {text}", end="", file=sys.stderr, flush=True
            ),
        )
    )
    text = page(plan, found, command)
    fill(place, text)
    return text


if __name__ == "__main__":
    sys.exit(main())
