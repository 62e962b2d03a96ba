"""The part of a language model's vocabulary that one question needs.

It is the embeddings of the question's tokens and the output rows for yes and no. The token ids are
written down here, so that neither a tokenizer nor the whole embedding matrix is read;
Testing/networks/test_text_branch.py compares them with the tokenizer in the model's own file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.places import cache_dir

from .file_checks import check_sha256
from .gguf_file import from_float32
from .store import MODELS

PROMPT = "Does this image show the disease? Answer yes or no. Image:"
ANSWERS = (" no", " yes")
PROMPT_IDS = {
    "smollm2-135m": (14748, 451, 2443, 1138, 260, 1611, 47, 19842, 9805, 355, 787, 30, 9979, 42)
}
ANSWER_IDS = {"smollm2-135m": (787, 9805)}


@dataclass(frozen=True)
class TextRows:
    """Rows of a language model's matrices.

    prompt: (P, D) embeddings of the prompt's tokens. answers: (2, D) rows of the output matrix for
    no and yes. norm: (D,) weights of the last RMSNorm. eps: of that norm.
    """

    prompt: torch.Tensor
    answers: torch.Tensor
    norm: torch.Tensor
    eps: float = 1e-5


def resolve_text_rows(source: str) -> TextRows:
    """The rows of a known language model, from the GGUF file that `fetch` left in the cache.

    The file's sha256 is checked each time. Raises `UserError` if the file is missing or changed, or
    for another language model, whose vocabulary is not known here.
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
    """Read rows by token id from a GGUF file; no others are dequantised.

    Raises `UserError` for a file without them.
    """
    from gguf import GGUFReader
    from gguf.quants import dequantize

    def rows(matrix: Any, token_ids: Sequence[int]) -> torch.Tensor:
        return torch.tensor(dequantize(matrix.data[list(token_ids)], matrix.tensor_type))

    try:
        reader = GGUFReader(path)
        stored = {tensor.name: tensor for tensor in reader.tensors}
        embeddings = stored["token_embd.weight"]
        # Models that share one matrix for input and output store only the embeddings.
        output = stored.get("output.weight", embeddings)
        return TextRows(
            prompt=rows(embeddings, prompt),
            answers=rows(output, answers),
            norm=torch.tensor(stored["output_norm.weight"].data).float(),
            eps=_rms_norm_eps(reader.fields),
        )
    except (ValueError, IndexError, KeyError, StopIteration, NotImplementedError, OSError) as error:
        raise UserError(
            f"{Path(path).name} has no vocabulary that can be read; delete it and run 'medllmseg"
            " llm fetch' again."
        ) from error


def _rms_norm_eps(fields: Mapping[str, Any]) -> float:
    suffix = ".layer_norm_rms_epsilon"
    return from_float32(next(f.contents() for name, f in fields.items() if name.endswith(suffix)))
