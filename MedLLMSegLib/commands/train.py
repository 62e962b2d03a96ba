"""`medllmseg train` and `medllmseg bundle`: from labelled cases to a model."""
from __future__ import annotations

from ..errors import UserError
from .common import typed_path


def add_parser(commands) -> None:
    p = commands.add_parser("train", help="train the hippocampus segmenter on labelled crops",
                            description="Train on FOLDER (imagesTr, labelsTr, splits.json); goes on where it was stopped. "
                                        "The best epoch on the val split becomes a bundle in RUN/bundle.")
    p.add_argument("--data", required=True, type=typed_path, metavar="FOLDER")
    p.add_argument("--output", "-o", required=True, type=typed_path, metavar="RUN", help="folder for checkpoints and the bundle")
    p.add_argument("--preset", default="medvisionllama", help="medvisionllama, paper-medvisionllama or paper-vit")
    p.add_argument("--llm", metavar="SOURCE", help="another language model: an id or a path (GGUF, safetensors, folder)")
    p.add_argument("--llm-layer", type=int, metavar="N", help="which of its layers; negative counts from the end")
    p.add_argument("--llm-position", choices=("head", "middle", "tail"), help="where it stands among the encoder's blocks")
    p.add_argument("--epochs", type=int, default=40)
    p.add_argument("--seed", type=int, default=0)
    p.set_defaults(run=_train)
    b = commands.add_parser("bundle", help="make a bundle with measured results from a training run")
    b.add_argument("run_folder", type=typed_path, metavar="RUN")
    b.add_argument("--results", type=typed_path, metavar="JSON", help="the .summary.json that `medllmseg evaluate` wrote")
    b.add_argument("--output", "-o", required=True, type=typed_path, metavar="FOLDER")
    b.set_defaults(run=_bundle)


def _train(args, command: str) -> None:
    from dataclasses import replace

    from ..config import PRESETS
    from ..training.export import export_bundle
    from ..training.loop import TrainConfig, Trainer

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
    from ..training.export import export_bundle

    print(export_bundle(args.run_folder, args.output, args.results))
