"""`medllmseg train --task classify`: from a table of labelled images to a classifier."""

from __future__ import annotations

from MedLLMSegLib.core.errors import UserError

OF_SEGMENTERS = (
    "steps",
    "start",
    "folds",
    "fold",
    "cases",
    "structures",
    "anatomy",
    "preset",
    "llm_layer",
    "llm_position",
    "window",
    "spacing",
    "augmentation",
    "optimiser",
    "validations",
    "patience",
    "precision",
)
OF_CLASSIFIERS = (
    "kind",
    "encoder",
    "train_encoder",
    "llm_layers",
    "tokens",
    "random_llm",
    "record",
    "channels",
    "size",
    "epochs",
    "classes",
)


def add_options(group) -> None:
    group.add_argument(
        "--kind",
        help=(
            "pneumollm (default), linear (a linear probe), mlp, text or fusion (image, with"
            " --record or --channels)"
        ),
    )
    group.add_argument(
        "--encoder",
        metavar="NAME",
        help=(
            "efficientnet-lite0 (default; `medllmseg llm fetch --encoder efficientnet-lite0` once),"
            " cnn or vit (small, trained here), or the folder of a timm or Hugging Face model"
        ),
    )
    group.add_argument(
        "--train-encoder", action="store_true", default=None, help="fine-tune a pretrained encoder"
    )
    group.add_argument(
        "--llm-layers",
        type=int,
        nargs="*",
        metavar="N",
        help=(
            "which of the language model's layers (default: 26 to "
            "29; none: without a language model)"
        ),
    )
    group.add_argument("--tokens", type=int, metavar="K", help="diagnosis tokens (default: 4)")
    group.add_argument(
        "--random-llm",
        action="store_true",
        default=None,
        help="the control: random layers of equal norms",
    )
    group.add_argument(
        "--record",
        nargs="+",
        metavar="COLUMN",
        help="columns of the table that --kind fusion reads beside the image",
    )
    group.add_argument(
        "--channels",
        nargs="+",
        metavar="COLUMN",
        help=(
            "columns of the table with the paths of further images of the patient, co-registered"
            " with the first (ct beside a PET): --kind fusion reads them all; an empty cell is"
            " missing"
        ),
    )
    group.add_argument(
        "--classes",
        nargs="+",
        metavar="NAME",
        help="their order; of two, the second is the one that is looked for",
    )
    group.add_argument("--size", type=int, help="pixels of the image's side (default: 224)")
    group.add_argument("--epochs", type=int, help="in place of --minutes")
    group.set_defaults(
        default_of=group.get_default
    )  # of any option of this command: `check_task` asks what was not given


def check_task(args) -> None:
    """Raise `UserError` for options of the other task."""
    if args.task == "segment":
        given = [name for name in OF_CLASSIFIERS if getattr(args, name) is not None]
        if given:
            raise UserError(
                f"--{given[0].replace('_', '-')} belongs to --task classify; add that, or leave the"
                " option out."
            )
        return
    given = [name for name in OF_SEGMENTERS if getattr(args, name) != args.default_of(name)]
    if given:
        raise UserError(
            f"--{'from' if given[0] == 'start' else given[0].replace('_', '-')} is for"
            " segmentation; leave it out with --task classify."
        )


def train(args, console) -> None:
    from MedLLMSegLib.training.classifier.classifier_session import (
        ClassifyRequest,
        train_classifier,
    )

    given = {
        name: getattr(args, name)
        for name in (
            "kind",
            "encoder",
            "tokens",
            "size",
            "epochs",
            "minutes",
            "batch",
            "lr",
            "llm",
            "train_encoder",
            "random_llm",
        )
        if getattr(args, name) is not None
    }
    given |= {
        name: tuple(getattr(args, name))
        for name in ("llm_layers", "record", "channels", "classes")
        if getattr(args, name) is not None
    }
    given |= {"modality": args.modality} if args.modality else {}
    request = ClassifyRequest(
        str(args.data),
        str(args.output),
        name=args.name,
        title=args.title,
        licence=args.licence,
        data=args.description,
        seed=args.seed,
        **given,
    )
    channels = "".join(f" --channel {name}=FILE" for name in request.channels)
    with console:
        bundle = train_classifier(request, args.device, console.report, console.say)
    print(
        f"the model is in {bundle}; measure it on images it has not seen, or use it:\n"
        f"  medllmseg evaluate --model {bundle} --data {args.data} --output test.csv\n"
        f"  medllmseg diagnose IMAGE{channels} --model {bundle}"
    )
