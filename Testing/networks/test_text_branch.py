"""The text branch says what the whole language model would say: against transformers, and
against the model's own tokenizer.
"""

import hashlib
from dataclasses import replace

import pytest
import torch

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.llm import text_embeddings as text_rows
from MedLLMSegLib.llm.frozen_weights import frozen_bytes
from MedLLMSegLib.llm.store import MODELS
from MedLLMSegLib.llm.text_embeddings import ANSWER_IDS, ANSWERS, PROMPT, PROMPT_IDS, read_text_rows
from MedLLMSegLib.networks.classification import build_classifier as classifiers
from MedLLMSegLib.networks.classification.build_classifier import (
    build_classifier,
    load_classifier,
    stored_tensors,
)
from MedLLMSegLib.registry.classifier_config import ClassifierConfig, EncoderConfig, PneumoLLMConfig
from MedLLMSegLib.registry.network_config import LLMConfig

pytest.importorskip("transformers")
from Testing.helpers.tiny_llm import random_model, write_gguf
from Testing.helpers.user_cache import fetched_file

PROMPT_OF_TINY, ANSWERS_OF_TINY = (5, 9, 9, 41), (17, 3)


@pytest.fixture(scope="module")
def model():
    return random_model(tie_word_embeddings=False)


@pytest.fixture(scope="module")
def gguf(model, tmp_path_factory):
    return write_gguf(model, tmp_path_factory.mktemp("text") / "tiny.gguf")


@pytest.fixture
def network(gguf, monkeypatch):
    monkeypatch.setattr(
        classifiers,
        "resolve_text_rows",
        lambda source: read_text_rows(gguf, PROMPT_OF_TINY, ANSWERS_OF_TINY),
    )
    part = PneumoLLMConfig(
        projector_width=16, llm=LLMConfig(source=str(gguf), layers=(0, 1, 2, 3), rotary=True)
    )
    torch.manual_seed(0)
    encoder = EncoderConfig("cnn", image_size=32, width=24)
    return build_classifier(ClassifierConfig("text", encoder=encoder, pneumollm=part)).eval()


def test_the_answer_is_the_whole_language_models(network, model):
    batch = {"image": torch.randn(2, 1, 32, 32)}
    with torch.no_grad():
        image = network.projector(network.sources(network.encode(batch)))
        prompt = model.model.embed_tokens(torch.tensor([PROMPT_OF_TINY] * 2))
        logits = model(inputs_embeds=torch.cat([prompt, image], dim=1)).logits[:, -1]
        torch.testing.assert_close(
            network(batch), logits[:, list(ANSWERS_OF_TINY)], atol=1e-3, rtol=1e-3
        )


def test_projector_and_adapters_train_and_the_words_do_not(network):
    before = frozen_bytes(network)
    frozen = network.prompt.clone()
    network.train()
    trained = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-2)
    torch.nn.functional.cross_entropy(
        network({"image": torch.randn(4, 1, 32, 32)}), torch.tensor([0, 1, 1, 0])
    ).backward()
    optimiser.step()
    assert network.projector[0].weight.grad.abs().sum() > 0
    assert network.llm.adapters[0].up.weight.grad.abs().sum() > 0
    assert network.head.weight.grad is None
    assert network.norm.weight.grad is None
    assert frozen_bytes(network) == before
    assert torch.equal(network.prompt, frozen)


def test_it_comes_back_without_the_language_models_vocabulary(network, gguf, monkeypatch):
    monkeypatch.setitem(text_rows.PROMPT_IDS, str(gguf), PROMPT_OF_TINY)
    monkeypatch.setattr(classifiers, "resolve_text_rows", None)
    again = load_classifier(network.config, stored_tensors(network))
    batch = {"image": torch.randn(2, 1, 32, 32)}
    assert torch.equal(again(batch), network(batch))


def test_only_the_rows_of_the_prompt_and_the_answers_are_read(gguf, model):
    rows = read_text_rows(gguf, PROMPT_OF_TINY, ANSWERS_OF_TINY)
    assert torch.equal(rows.prompt, model.model.embed_tokens.weight[list(PROMPT_OF_TINY)])
    assert torch.equal(rows.answers, model.lm_head.weight[list(ANSWERS_OF_TINY)])
    assert torch.equal(rows.norm, model.model.norm.weight)
    assert rows.eps == 1e-5
    with pytest.raises(UserError, match="has no vocabulary that can be read"):
        read_text_rows(gguf, [1000], ANSWERS_OF_TINY)


def test_what_is_not_at_hand_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path))
    config = ClassifierConfig(
        "text", encoder=EncoderConfig("cnn", image_size=32), pneumollm=PneumoLLMConfig()
    )
    with pytest.raises(UserError, match="run 'medllmseg llm fetch --layer 29' once"):
        build_classifier(config)
    own = replace(config.pneumollm, llm=LLMConfig(source="mine", rotary=True))
    with pytest.raises(UserError, match="knows the vocabulary of smollm2-135m only, and 'mine'"):
        text_rows.resolve_text_rows(own.llm.source)


def test_a_language_models_file_that_was_changed_is_not_read(gguf, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDLLMSEG_CACHE", str(tmp_path))
    known = MODELS["smollm2-135m"]
    kept = tmp_path / "llm" / known.gguf_name
    kept.parent.mkdir()
    kept.write_bytes(gguf.read_bytes())
    monkeypatch.setitem(text_rows.PROMPT_IDS, known.id, PROMPT_OF_TINY)
    monkeypatch.setitem(text_rows.ANSWER_IDS, known.id, ANSWERS_OF_TINY)
    with pytest.raises(UserError, match="it was changed or cut short"):
        text_rows.resolve_text_rows(known.id)
    right = replace(known, gguf_sha256=hashlib.sha256(kept.read_bytes()).hexdigest())
    monkeypatch.setitem(text_rows.MODELS, known.id, right)
    assert torch.equal(
        text_rows.resolve_text_rows(known.id).prompt,
        read_text_rows(gguf, PROMPT_OF_TINY, ANSWERS_OF_TINY).prompt,
    )


def test_the_ids_in_the_code_are_the_tokenizers():
    path = fetched_file(f"llm/{MODELS['smollm2-135m'].gguf_name}", "medllmseg llm fetch")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)

    def ids(text):
        return tuple(tokenizer(text, add_special_tokens=False).input_ids)

    assert ids(PROMPT) == PROMPT_IDS["smollm2-135m"]
    assert ids(ANSWERS[0]) + ids(ANSWERS[1]) == ANSWER_IDS["smollm2-135m"]
