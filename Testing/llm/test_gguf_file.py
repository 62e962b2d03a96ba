"""The layers of a GGUF file are those of the model that was stored in it."""

import gguf
import pytest

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.llm import gguf_file
from MedLLMSegLib.llm.weights import LlamaConfig, read_layers
from Testing.helpers.tiny_llm import (
    CLASSES,
    assert_same,
    layer_of,
    layer_of_transformers,
    random_model,
    write_gguf,
)


@pytest.mark.parametrize("kind", CLASSES)
def test_a_gguf_file_gives_the_tensors_that_went_in_and_transformers_agrees(kind, tmp_path):
    model = random_model(kind)
    path = write_gguf(model, tmp_path / "tiny.gguf", kind)
    weights = read_layers(path, [1])
    assert_same(weights.layers[1], layer_of(model, 1))
    assert weights.config == LlamaConfig(64, 96, 4, 2, 16, 10000.0, 1e-5, 4)
    assert_same(weights.layers[1], layer_of_transformers(path, 1))


def test_biases_of_a_llama_gguf_are_put_back_in_order_too(tmp_path):
    model = random_model(attention_bias=True)
    weights = read_layers(write_gguf(model, tmp_path / "tiny.gguf"), [0])
    assert_same(weights.layers[0], layer_of(model, 0))


def test_only_the_wanted_layers_of_a_gguf_are_dequantised(tmp_path, monkeypatch):
    path = write_gguf(random_model(), tmp_path / "tiny.gguf")
    sizes, real = [], gguf.quants.dequantize
    monkeypatch.setattr(
        gguf.quants, "dequantize", lambda data, kind: sizes.append(data.size) or real(data, kind)
    )
    read_layers(path, [1])
    assert len(sizes) == len(gguf_file.GGUF_TO_HF)


@pytest.mark.parametrize("kept", [0.5, 0.99, 0.001])
def test_a_gguf_cut_short_is_refused(kept, tmp_path):
    path = write_gguf(random_model(), tmp_path / "tiny.gguf")
    path.write_bytes(path.read_bytes()[: max(5, int(path.stat().st_size * kept))])
    with pytest.raises(UserError, match="cut short"):
        read_layers(path, [0])


def test_a_gguf_of_another_kind_is_refused(tmp_path):
    with pytest.raises(UserError, match="architecture 'gemma2'"):
        read_layers(write_gguf(random_model(), tmp_path / "a.gguf", "gemma2"), [0])
    with pytest.raises(UserError, match="one of 3 pieces"):
        read_layers(write_gguf(random_model(), tmp_path / "b.gguf", split__count=3), [0])
