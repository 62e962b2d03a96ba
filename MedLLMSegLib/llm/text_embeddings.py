"""The little of a language model's vocabulary that one question needs: its tokens' embeddings and
the rows for yes and no.

The prompt's token ids stand here, so that neither a tokenizer nor the whole embedding matrix is
read; Testing/test_text_branch.py compares them with the tokenizer in the model's own file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.places import cache_dir

from .store import MODELS
from .wheel_download import check_sha256

PROMPT = "Does this image show the disease? Answer yes or no. Image:"
ANSWERS = (" no", " yes")
PROMPT_IDS = {
    "smollm2-135m": (14748, 451, 2443, 1138, 260, 1611, 47, 19842, 9805, 355, 787, 30, 9979, 42)
}
ANSWER_IDS = {"smollm2-135m": (787, 9805)}


@dataclass(frozen=True)
class TextRows:
    """prompt (P, D): embeddings of the prompt's tokens. answers (2, D): the output matrix's rows
    for no and yes. norm (D,): weights of the last RMSNorm. eps: of that norm.
    """

    prompt: torch.Tensor
    answers: torch.Tensor
    norm: torch.Tensor
    eps: float = 1e-5


def resolve_text_rows(source: str) -> TextRows:
    """The rows of a known language model, from the file that fetching a layer left in the cache.

    The file's sha256 is checked each time. Raises `UserError` where that file is not there or was
    changed, or for another language model, whose vocabulary is not known here.
    """
    if source not in PROMPT_IDS:
        raise UserError(
            f"The text branch knows the vocabulary of {', '.join(PROMPT_IDS)} only, and {source!r}"
            " was asked for; choose that one, or another kind of classifier."
        )
    path = cache_dir() / "llm" / MODELS[source].gguf_name
    if not path.is_file():
        raise UserError(
            f"The vocabulary of {source} is not on this computer; run 'medllmseg llm fetch --layer"
            " 29' once, with a network."
        )
    check_sha256(path, MODELS[source].gguf_sha256)
    return read_text_rows(path, PROMPT_IDS[source], ANSWER_IDS[source])


def read_text_rows(path: Path, prompt: Sequence[int], answers: Sequence[int]) -> TextRows:
    """Rows by token id out of a GGUF file. Only these rows are dequantised. Raises `UserError`
    for a file without them.
    """
    from gguf import GGUFReader
    from gguf.quants import dequantize

    try:
        reader = GGUFReader(path)
        stored = {tensor.name: tensor for tensor in reader.tensors}
        embeddings = stored["token_embd.weight"]
        output = stored.get(
            "output.weight", embeddings
        )  # one matrix for both, where only one is stored
        rows = [
            torch.tensor(dequantize(tensor.data[list(ids)], tensor.tensor_type))
            for tensor, ids in ((embeddings, prompt), (output, answers))
        ]
        norm = torch.tensor(stored["output_norm.weight"].data).float()
        eps = next(
            field.contents()
            for name, field in reader.fields.items()
            if name.endswith(".layer_norm_rms_epsilon")
        )
    except (ValueError, IndexError, KeyError, StopIteration, NotImplementedError, OSError) as error:
        raise UserError(
            f"{Path(path).name} has no vocabulary that can be read; delete it and run 'medllmseg"
            " llm fetch' again."
        ) from error
    return TextRows(
        rows[0], rows[1], norm, float(f"{eps:.7g}")
    )  # GGUF keeps 1e-05 as 9.999999747378752e-06
