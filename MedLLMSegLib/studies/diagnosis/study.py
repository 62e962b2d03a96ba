"""A study: several arms trained on the same cases with the same tuning, over seeds. Stop it at
any moment; it goes on.
"""

from __future__ import annotations

import fnmatch
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from MedLLMSegLib.core.errors import TimeIsUp, UserError
from MedLLMSegLib.core.progress import Report
from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.metrics.calibration import calibrated_probabilities, fit_temperature
from MedLLMSegLib.metrics.classification import youden_threshold
from MedLLMSegLib.metrics.classification_intervals import Answer
from MedLLMSegLib.networks.classification.build_classifier import build_classifier
from MedLLMSegLib.networks.controls import count_parameters
from MedLLMSegLib.registry.classifier_config import ClassifierConfig
from MedLLMSegLib.training.checkpoint import BEST, fill_best
from MedLLMSegLib.training.classifier.classifier_loop import ClassifierTrainer, LoopConfig
from MedLLMSegLib.training.classifier.examples import Examples, TokenStore, logits_of

from .study_results import StudyResults

RESULT = "result.json"
Baseline = Callable[[Examples, Examples, Examples, int], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Arm:
    """One way of answering.

    config: of a network, or None for a plain ``baseline``: (train, val, test, seed) -> logits of
    val and of test. like: the arm whose learning rate it takes; "" tunes its own. epochs: None as
    the study's. view: what the arm sees of the cases; None for all. note: for the page.
    """

    title: str
    config: ClassifierConfig | None = None
    baseline: Baseline | None = None
    like: str = ""
    epochs: int | None = None
    view: Callable[[Examples], Examples] | None = None
    note: str = ""


@dataclass(frozen=True)
class StudyRun:
    """lr: of a tuning run, which is chosen by on val and never tested; None for a run that
    counts.
    """

    arm: str
    seed: int
    lr: float | None = None

    @property
    def name(self) -> str:
        return f"{self.arm}-{self.seed}" if self.lr is None else f"tune-{self.arm}-lr{self.lr:g}"


@dataclass(eq=False)
class Study:
    """name: its key in the results. parts: "train", "val", "test". rates: learning rates tried with
    the first seed for each arm that is not ``like`` another; of one rate nothing is tuned. key:
    what besides the cases the images follow from, kept with the results, which are refused for
    another.
    """

    name: str
    arms: Mapping[str, Arm]
    loop: LoopConfig
    seeds: tuple[int, ...]
    rates: tuple[float, ...]
    parts: Mapping[str, Examples]
    output: Path
    results: StudyResults
    key: dict = field(default_factory=dict)
    device: str = "cpu"

    def __post_init__(self):
        self.output = Path(self.output)
        self.tokens = TokenStore(self.output / "tokens")
        loop = {k: v for k, v in self.loop.to_dict().items() if k not in ("lr", "seed")}
        self.settings = json.loads(
            json.dumps(
                {
                    "loop": loop,
                    "seeds": self.seeds,
                    "rates": self.rates,
                    "key": self.key,
                    "cases": {name: len(part) for name, part in self.parts.items()},
                }
            )
        )
        self.results.begin(self.name, self.settings)

    def planned(self) -> list[StudyRun]:
        """First each arm's tuning, then the runs, seed by seed."""
        networks = [name for name, arm in self.arms.items() if arm.config]
        tuned = (
            [name for name in networks if not self.arms[name].like] if len(self.rates) > 1 else []
        )
        runs = [StudyRun(name, self.seeds[0], lr) for name in tuned for lr in self.rates]
        runs += [StudyRun(name, self.seeds[0]) for name in self.arms if name not in networks]
        return runs + [StudyRun(name, seed) for seed in self.seeds for name in networks]

    def chosen(self, pattern: str | None) -> list[StudyRun]:
        """The runs that an arm's or run's pattern (shell wildcards) asks for, with the tuning
        they wait for; None: all.
        """
        if pattern is None:
            return self.planned()
        match = lambda run: any(
            fnmatch.fnmatchcase(run.name, p) or fnmatch.fnmatchcase(run.arm, p)
            for p in pattern.split(",")
        )
        found = [run for run in self.planned() if match(run)]
        if not found:
            raise UserError(
                f'No run of "{self.name}" is called "{pattern}"; the arms are'
                f" {', '.join(self.arms)}, * stands for any part."
            )
        wanted = {self.arms[run.arm].like or run.arm for run in found}
        return [
            run
            for run in self.planned()
            if run in found or (run.lr is not None and run.arm in wanted)
        ]

    def run(
        self,
        pattern: str | None = None,
        minutes: float | None = None,
        progress: Report | None = None,
    ) -> list[str]:
        """Do what is not finished yet, in order; returns the names of what was finished now.

        minutes: stop cleanly when they are over (`TimeIsUp`). progress: called with (text, fraction
        of the runs).
        """
        runs, finished = self.chosen(pattern), []
        deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
        for n, run in enumerate(runs):
            self.gather()  # another process may have finished it meanwhile
            if run.name in self.results.runs(self.name):
                continue

            def tell(text: str, fraction: float, run=run, n=n) -> None:
                if progress:
                    progress(f"{self.name} {run.name}: {text}", (n + fraction) / len(runs))
                if time.monotonic() > deadline:
                    raise TimeIsUp(f"{minutes:g} minutes are over")

            tell("begins", 0.0)
            result = self._network(run, tell) if self.arms[run.arm].config else self._baseline(run)
            write_text(self.output / run.name / RESULT, json.dumps(result))
            self.results.add(self.name, {run.name: result})
            finished.append(run.name)
        return finished

    def gather(self) -> None:
        """Take in finished runs that the results do not hold yet."""
        known = {run.name for run in self.planned()}
        found = {
            path.parent.name: json.loads(path.read_text(encoding="utf-8"))
            for path in sorted(self.output.glob(f"*/{RESULT}"))
        }
        self.results.add(
            self.name,
            {
                name: each
                for name, each in found.items()
                if name in known and name not in self.results.runs(self.name)
            },
        )

    def rate(self, run: StudyRun) -> float:
        """A tuning run's own learning rate; else the one with the best val AUC in the arm's
        tuning, the lowest of equals.
        """
        if run.lr is not None:
            return run.lr
        if len(self.rates) == 1:
            return self.rates[0]
        arm = self.arms[run.arm].like or run.arm
        tuned = {
            lr: self.results.runs(self.name).get(StudyRun(arm, self.seeds[0], lr).name)
            for lr in sorted(self.rates)
        }
        if None in tuned.values():
            raise UserError(
                f'The learning rate of "{arm}" has not been chosen yet; run its tuning'
                f' ("tune-{arm}-*") first.'
            )
        return max(tuned, key=lambda lr: tuned[lr]["val_auc"])

    def network_of(self, run: StudyRun) -> torch.nn.Module:
        """The network that a run trains, with its seed's initial weights (and its seed's random
        language model).
        """
        config = self.arms[run.arm].config
        if config.pneumollm is not None and config.pneumollm.llm_weights == "random":
            config = replace(config, pneumollm=replace(config.pneumollm, llm_seed=run.seed))
        with torch.random.fork_rng():
            torch.manual_seed(run.seed)
            return build_classifier(config)

    def folder(self, run: StudyRun) -> Path:
        """Where a run trains: in that of the tuning run that was the very same training, where
        there is one.
        """
        arm = self.arms[run.arm]
        same = run.lr is None and not arm.like and len(self.rates) > 1 and run.seed == self.seeds[0]
        return self.output / (replace(run, lr=self.rate(run)).name if same else run.name)

    def _network(self, run: StudyRun, tell: Report) -> dict:
        arm, network, seen = self.arms[run.arm], self.network_of(run), self.seen(run.arm)
        config = replace(
            self.loop, lr=self.rate(run), seed=run.seed, epochs=arm.epochs or self.loop.epochs
        )
        train, val = (self._tokens(network, run.arm, part, tell) for part in ("train", "val"))
        about = {
            "study": self.settings,
            "arm": run.arm,
            "config": json.loads(json.dumps(arm.config.to_dict())),
        }
        trainer = ClassifierTrainer(
            network,
            config,
            seen["train"],
            seen["val"],
            self.folder(run),
            about,
            train,
            None if val is None else val[0],
            self.device,
        )
        trained = trainer.run(tell)
        result = {
            **asdict(run),
            "lr": config.lr,
            "epochs": trained.epochs,
            "best_epoch": trained.best_epoch,
            "val_auc": round(trained.best_auc, 5),
            "seconds": trained.seconds,
            "parameters": counted(network),
        }
        if run.lr is None:  # the tuning never looks at the test cases
            test = self._tokens(network, run.arm, "test", tell)
            logits = logits_of(
                network, seen["test"], None if test is None else test[0], self.device
            )
            result |= self._answers(trained.val_logits, logits)
        return result

    def seen(self, arm: str) -> dict[str, Examples]:
        """The parts as an arm sees them."""
        view = self.arms[arm].view
        return {name: view(part) if view else part for name, part in self.parts.items()}

    def weights(self, run: StudyRun) -> Path:
        """The file with a finished run's chosen weights; gone where its folder was cleared."""
        return self.folder(run) / BEST

    def trained(self, run: StudyRun) -> torch.nn.Module:
        """The network of a finished run, with its chosen weights."""
        network = self.network_of(run)
        fill_best(network, self.folder(run))
        return network.to(self.device).eval()

    def _tokens(self, network, arm: str, part: str, tell: Report):
        """Of a frozen encoder, kept for all runs that share it; None for one that is trained."""
        if not network.config.encoder.frozen:
            return None
        views, how = (self.loop.views, self.loop.augmentation) if part == "train" else (1, None)
        return self.tokens.get(network, self.seen(arm)[part], views, how, self.device, tell)

    def _baseline(self, run: StudyRun) -> dict:
        began = time.monotonic()
        val, test = self.arms[run.arm].baseline(
            self.parts["train"], self.parts["val"], self.parts["test"], run.seed
        )
        return {
            **asdict(run),
            "seconds": round(time.monotonic() - began, 1),
            **self._answers(val, test),
        }

    def _answers(self, val_logits: np.ndarray, test_logits: np.ndarray) -> dict:
        """Temperature and threshold from val, probabilities of test."""
        truth = self.parts["val"].target.numpy()
        temperature = fit_temperature(val_logits, truth)
        val, test = (
            calibrated_probabilities(val_logits, temperature),
            calibrated_probabilities(test_logits, temperature),
        )
        threshold = round(youden_threshold(truth, val[:, 1]), 6) if val.shape[1] == 2 else None
        return {
            "temperature": round(temperature, 5),
            "threshold": threshold,
            "test": _rounded(test),
        }


def _rounded(probabilities: np.ndarray) -> list:
    """Of two classes the second's, else all."""
    kept = probabilities[:, 1] if probabilities.shape[1] == 2 else probabilities
    return np.round(kept, 6).tolist()


def answer_of(result: dict) -> Answer:
    """The probabilities (N, classes) of the test cases, and the threshold, from what a run's
    result holds.
    """
    kept = np.asarray(result["test"], float)
    return np.stack([1 - kept, kept], 1) if kept.ndim == 1 else kept, result["threshold"]


def counted(network: torch.nn.Module) -> dict[str, int]:
    """Trained and frozen parameters, and how many of the trained are not the encoder's."""
    beyond = sum(
        p.numel()
        for name, p in network.named_parameters()
        if p.requires_grad and not name.startswith("encoder.")
    )
    return {**count_parameters(network), "trained_beyond_encoder": beyond}
