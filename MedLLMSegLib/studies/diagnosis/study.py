"""A study: several arms trained on the same cases with the same tuning, over seeds.

It can be stopped at any moment; the same call continues.
"""

from __future__ import annotations

import fnmatch
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import Progress, Report
from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.networks.classification.build_classifier import build_classifier
from MedLLMSegLib.networks.classification.classifier import Classifier
from MedLLMSegLib.studies.study.deadline import with_deadline
from MedLLMSegLib.training.checkpoint import BEST, fill_best
from MedLLMSegLib.training.classifier.classifier_recipe import (
    ClassifierLoop,
    ClassifierRecipe,
    train_by,
)
from MedLLMSegLib.training.classifier.examples import Examples, TokenStore, logits_of

from .study_results import StudyResults
from .study_runs import Arm, StudyRun, calibrated_answers, parameter_counts

RESULT = "result.json"


@dataclass(eq=False)
class Study:
    """Arms, cases and settings of one study.

    name: its key in the results. splits: "train", "val", "test". rates: learning rates tried with
    the first seed for each arm that is not ``like`` another; a single rate is taken as it is. key:
    what the images follow from besides the cases. It is stored with the results, which are refused
    for another key.
    """

    name: str
    arms: Mapping[str, Arm]
    loop: ClassifierLoop
    seeds: tuple[int, ...]
    rates: tuple[float, ...]
    splits: Mapping[str, Examples]
    output: Path
    results: StudyResults
    key: Json = field(default_factory=dict)
    device: str = "cpu"

    def __post_init__(self) -> None:
        self.output = Path(self.output)
        self.tokens = TokenStore(self.output / "tokens")
        loop = {k: v for k, v in self.loop.to_dict().items() if k not in ("lr", "seed")}
        settings = {
            "loop": loop,
            "seeds": self.seeds,
            "rates": self.rates,
            "key": self.key,
            "cases": {split: len(examples) for split, examples in self.splits.items()},
        }
        self.settings: Json = json.loads(json.dumps(settings))
        self.results.begin(self.name, self.settings)

    # ---- which runs ----

    def planned(self) -> list[StudyRun]:
        """First each arm's tuning, then the baselines, then the networks seed by seed."""
        networks = [name for name, arm in self.arms.items() if arm.config]
        baselines = [name for name in self.arms if name not in networks]
        runs = []
        if len(self.rates) > 1:
            tuned = [name for name in networks if not self.arms[name].like]
            runs += [StudyRun(name, self.seeds[0], lr) for name in tuned for lr in self.rates]
        runs += [StudyRun(name, self.seeds[0]) for name in baselines]
        return runs + [StudyRun(name, seed) for seed in self.seeds for name in networks]

    def chosen(self, pattern: str | None) -> list[StudyRun]:
        """The runs that match, and the tuning that they need; all without a pattern.

        pattern: shell wildcards for names of arms or runs, separated by commas.
        """
        if pattern is None:
            return self.planned()
        patterns = pattern.split(",")
        matching = [run for run in self.planned() if _matches(run, patterns)]
        if not matching:
            raise UserError(
                f'No run of "{self.name}" is called "{pattern}"; the arms are'
                f" {', '.join(self.arms)}, * stands for any part."
            )
        tuned = {self.arms[run.arm].like or run.arm for run in matching}
        return [
            run
            for run in self.planned()
            if run in matching or (run.lr is not None and run.arm in tuned)
        ]

    def rate(self, run: StudyRun) -> float:
        """The learning rate of a run.

        A tuning run has its own. Else it is the one with the best val AUC in the arm's tuning, the
        lowest of equals.
        """
        if run.lr is not None:
            return run.lr
        if len(self.rates) == 1:
            return self.rates[0]
        arm = self.arms[run.arm].like or run.arm
        finished = self.results.runs(self.name)
        tuning = {lr: StudyRun(arm, self.seeds[0], lr).name for lr in sorted(self.rates)}
        if not self.rate_chosen(arm):
            raise UserError(
                f'The learning rate of "{arm}" has not been chosen yet; run its tuning'
                f' ("tune-{arm}-*") first.'
            )
        return max(tuning, key=lambda lr: finished[tuning[lr]]["val_auc"])

    def rate_chosen(self, arm: str) -> bool:
        """Whether the tuning that an arm's learning rate comes from is finished."""
        if len(self.rates) == 1:
            return True
        tuned, finished = self.arms[arm].like or arm, self.results.runs(self.name)
        return all(StudyRun(tuned, self.seeds[0], lr).name in finished for lr in self.rates)

    def is_finished(self, run: StudyRun) -> bool:
        """Whether a run's result is there, and was made with the learning rate chosen since.

        An arm that once took another arm's rate may have results from before its own tuning.
        """
        result = self.results.runs(self.name).get(run.name)
        if result is None:
            return False
        is_network = self.arms[run.arm].config is not None
        if not is_network or run.lr is not None or not self.rate_chosen(run.arm):
            return True
        return result["lr"] == self.rate(run)

    # ---- running ----

    def run(
        self,
        pattern: str | None = None,
        minutes: float | None = None,
        progress: Report | None = None,
    ) -> list[str]:
        """Do what is not finished yet, in order; returns the names of the runs finished now.

        pattern: see `chosen`. minutes: after these, stop cleanly (`TimeIsUp`). progress: called
        with (text, fraction of the runs).
        """
        runs, finished = self.chosen(pattern), []
        report = with_deadline(progress, minutes)
        for run, run_progress in zip(runs, report.parts(len(runs)), strict=True):
            self.gather()  # another process may have finished it meanwhile
            if self.is_finished(run):
                continue
            labelled = run_progress.part(0.0, 1.0, f"{self.name} {run.name}: {{}}")
            labelled("begins", 0.0)
            is_network = self.arms[run.arm].config is not None
            result = self._train(run, labelled) if is_network else self._answer_plainly(run)
            write_text(self.output / run.name / RESULT, json.dumps(result))
            self.results.add(self.name, {run.name: result})
            finished.append(run.name)
        return finished

    def gather(self) -> None:
        """Add finished runs that the results do not hold yet."""
        planned = {run.name for run in self.planned()}
        known = self.results.runs(self.name)
        fresh = {}
        for path in sorted(self.output.glob(f"*/{RESULT}")):
            name = path.parent.name
            result = json.loads(path.read_text(encoding="utf-8"))
            if name in planned and name not in known:
                fresh[name] = result
        self.results.add(self.name, fresh)

    def _train(self, run: StudyRun, progress: Progress) -> Json:
        """Train a network, and test it unless the run tunes."""
        arm, network, seen = self.arms[run.arm], self.network_of(run), self.seen(run.arm)
        config = replace(
            self.loop, lr=self.rate(run), seed=run.seed, epochs=arm.epochs or self.loop.epochs
        )
        train_tokens = self._tokens(network, run.arm, "train", progress)
        val_tokens = self._tokens(network, run.arm, "val", progress)
        about = {
            "study": self.settings,
            "arm": run.arm,
            "config": json.loads(json.dumps(arm.network_config.to_dict())),
        }
        recipe = ClassifierRecipe(
            config,
            seen["train"],
            seen["val"],
            train_tokens,
            None if val_tokens is None else val_tokens[0],
            self.device,
        )
        trained = train_by(recipe, network, self.folder(run), about, progress)
        result = {
            **asdict(run),
            "lr": config.lr,
            "epochs": trained.epochs,
            "best_epoch": trained.best_epoch,
            "val_auc": round(trained.best_auc, 5),
            "seconds": trained.seconds,
            "parameters": parameter_counts(network),
        }
        if run.lr is None:  # the tuning never looks at the test cases
            tokens = self._tokens(network, run.arm, "test", progress)
            first_view = None if tokens is None else tokens[0]
            logits = logits_of(network, seen["test"], first_view, self.device)
            val_truth = self.splits["val"].target.numpy()
            result |= calibrated_answers(val_truth, trained.val_logits, logits)
        return result

    def _answer_plainly(self, run: StudyRun) -> Json:
        """The result of a baseline."""
        baseline = self.arms[run.arm].baseline
        if baseline is None:
            raise ValueError(f'the arm "{run.arm}" has neither a network nor a baseline')
        began = time.monotonic()
        train, val, test = (self.splits[split] for split in ("train", "val", "test"))
        val_logits, test_logits = baseline(train, val, test, run.seed)
        seconds = round(time.monotonic() - began, 1)
        answers = calibrated_answers(val.target.numpy(), val_logits, test_logits)
        return {**asdict(run), "seconds": seconds, **answers}

    def _tokens(
        self, network: Classifier, arm: str, split: str, progress: Progress
    ) -> torch.Tensor | None:
        """A frozen encoder's tokens, shared by all runs with that encoder; None if it is trained.

        Returns (views, n, tokens, width).
        """
        if not network.config.encoder.frozen:
            return None
        is_train = split == "train"
        views, augmentation = (self.loop.views, self.loop.augmentation) if is_train else (1, None)
        examples = self.seen(arm)[split]
        return self.tokens.get(network, examples, views, augmentation, self.device, progress)

    # ---- networks and folders ----

    def network_of(self, run: StudyRun) -> Classifier:
        """The network that a run trains, with its seed's initial weights.

        A random language model is drawn by the seed, too.
        """
        config = self.arms[run.arm].network_config
        if config.pneumollm is not None and config.pneumollm.llm_weights == "random":
            config = replace(config, pneumollm=replace(config.pneumollm, llm_seed=run.seed))
        with torch.random.fork_rng():
            torch.manual_seed(run.seed)
            return build_classifier(config)

    def folder(self, run: StudyRun) -> Path:
        """The folder where a run trains: the tuning run's, if that was the very same training."""
        is_tuned = not self.arms[run.arm].like and len(self.rates) > 1
        if run.lr is None and is_tuned and run.seed == self.seeds[0]:
            run = replace(run, lr=self.rate(run))
        return self.output / run.name

    def seen(self, arm: str) -> dict[str, Examples]:
        """The splits as an arm sees them."""
        view = self.arms[arm].view
        return {
            split: view(examples) if view else examples for split, examples in self.splits.items()
        }

    def weights(self, run: StudyRun) -> Path:
        """The file with a finished run's chosen weights; missing where its folder was cleared."""
        return self.folder(run) / BEST

    def trained(self, run: StudyRun) -> Classifier:
        """The network of a finished run, with its chosen weights."""
        network = self.network_of(run)
        fill_best(network, self.folder(run))
        return network.to(self.device).eval()


def _matches(run: StudyRun, patterns: list[str]) -> bool:
    names = (run.name, run.arm)
    return any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in patterns)
