"""Lengths in a GGUF file's header that the file is too short for."""

import struct

import pytest

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.llm.gguf_check import check_lengths
from MedLLMSegLib.llm.weights import read_layers


def header(fields: bytes, tensors: int = 0, count: int = 1) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, count) + fields


def field(kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", 1) + b"a" + struct.pack("<I", kind) + value


WHOLE = {
    "number": field(4, bytes(4)),
    "text": field(8, struct.pack("<Q", 3) + b"abc"),
    "numbers": field(9, struct.pack("<IQ", 5, 2) + bytes(8)),
    "texts": field(9, struct.pack("<IQQ", 8, 1, 2) + b"ab"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_fits_passes(tmp_path, name):
    path = tmp_path / "a.gguf"
    path.write_bytes(header(WHOLE[name]))
    check_lengths(path)
    path.write_bytes(header(WHOLE[name])[:-1])
    with pytest.raises(ValueError):
        check_lengths(path)


@pytest.mark.parametrize(
    "data",
    [
        header(field(9, struct.pack("<IQ", 5, 2**40))),
        header(field(9, struct.pack("<IQ", 8, 2**62))),
        header(field(9, struct.pack("<IQ", 9, 1) * 200)),
        header(field(77, b"")),
        header(WHOLE["text"], count=2**63),
        header(WHOLE["text"], tensors=2**63),
    ],
)
def test_a_length_that_does_not_fit_is_a_sentence_at_once(tmp_path, data):
    """The reader of the package gguf would loop over them for hours."""
    path = tmp_path / "a.gguf"
    path.write_bytes(data)
    with pytest.raises(UserError, match="not a whole GGUF file"):
        read_layers(path, [0])
