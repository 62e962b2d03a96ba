"""A study of classifiers: arms trained and tested on the same images, prepared once."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from MedLLMSegLib.core.progress import Progress
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.networks.classification.build_classifier import build_classifier
from MedLLMSegLib.networks.classification.classifier import Classifier
from MedLLMSegLib.studies.study.results import StudyResults
from MedLLMSegLib.studies.study.runs import Run, Tuning
from MedLLMSegLib.studies.study.study import Study, Task
from MedLLMSegLib.training.checkpoint import BEST, fill_best
from MedLLMSegLib.training.classifier.classifier_recipe import (
    ClassifierLoop,
    ClassifierRecipe,
    train_by,
)
from MedLLMSegLib.training.classifier.examples import Examples, TokenStore, logits_of

from .study_runs import Arm, calibrated_answers, parameter_counts

COLLECTED = "diagnosis-results.json"  # committed; docs/diagnosis.md is made from it


@dataclass(eq=False)
class ClassifierStudy:
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
        self.results = self.results.of(self.name)
        self.results.begin(self.settings)

    @property
    def study(self) -> Study:
        """First each arm's tuning, then the baselines, then the networks seed by seed."""
        networks = [name for name, arm in self.arms.items() if arm.config]
        plain = [name for name in self.arms if name not in networks]
        like = {name: arm.like for name, arm in self.arms.items() if arm.like}
        return Study(
            [
                *(Run(name, self.seeds[0]) for name in plain),
                *(Run(name, seed) for seed in self.seeds for name in networks),
            ],
            self._work,
            self.output,
            self.results,
            self.settings,
            Tuning(tuple(self.rates), "val_auc", self.seeds[0], like=like, plain=plain),
        )

    def finished(self, arm: str) -> dict[int, Json]:
        """Seed -> result of an arm's finished runs."""
        runs = self.results.runs
        return {seed: runs[name] for seed in self.seeds if (name := Run(arm, seed).name) in runs}

    # ---- one run ----

    def _work(self, task: Task) -> Json:
        is_network = self.arms[task.run.arm].config is not None
        return self._train(task) if is_network else self._answer_plainly(task.run)

    def _train(self, task: Task) -> Json:
        """Train a network, and test it unless the run tunes."""
        run, progress = task.run, task.progress
        arm, network, seen = self.arms[run.arm], self.network_of(run), self.seen(run.arm)
        config = replace(
            self.loop, lr=task.known_lr, seed=run.seed, epochs=arm.epochs or self.loop.epochs
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
        trained = train_by(recipe, network, task.folder, about, progress)
        result = {
            "arm": run.arm,
            "seed": run.seed,
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

    def _answer_plainly(self, run: Run) -> Json:
        """The result of a baseline."""
        baseline = self.arms[run.arm].baseline
        if baseline is None:
            raise ValueError(f'the arm "{run.arm}" has neither a network nor a baseline')
        began = time.monotonic()
        train, val, test = (self.splits[split] for split in ("train", "val", "test"))
        val_logits, test_logits = baseline(train, val, test, run.seed)
        seconds = round(time.monotonic() - began, 1)
        answers = calibrated_answers(val.target.numpy(), val_logits, test_logits)
        return {"arm": run.arm, "seed": run.seed, "lr": None, "seconds": seconds, **answers}

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

    def network_of(self, run: Run) -> Classifier:
        """The network that a run trains, with its seed's initial weights.

        A random language model is drawn by the seed, too.
        """
        config = self.arms[run.arm].network_config
        if config.pneumollm is not None and config.pneumollm.llm_weights == "random":
            config = replace(config, pneumollm=replace(config.pneumollm, llm_seed=run.seed))
        with torch.random.fork_rng():
            torch.manual_seed(run.seed)
            return build_classifier(config)

    def seen(self, arm: str) -> dict[str, Examples]:
        """The splits as an arm sees them."""
        view = self.arms[arm].view
        return {
            split: view(examples) if view else examples for split, examples in self.splits.items()
        }

    def weights(self, run: Run) -> Path:
        """The file with a finished run's chosen weights; missing where its folder was cleared."""
        return self.study.folder(run) / BEST

    def trained(self, run: Run) -> Classifier:
        """The network of a finished run, with its chosen weights."""
        network = self.network_of(run)
        fill_best(network, self.study.folder(run))
        return network.to(self.device).eval()
