"""Lines that are JSON and yet no message."""

import pytest

from MedLLMSegLib.worker.message_checks import check_answer, check_request

SEGMENT = {
    "id": 1,
    "do": "segment",
    "volume": "v",
    "output": "o",
    "side": None,
    "augment": 2,
    "engine": "onnx",
}
DIAGNOSE = {
    "id": 1,
    "do": "diagnose",
    "volumes": ["a", None],
    "output": "o",
    "modality": ["CT", ""],
}
PROGRESS = {"id": 1, "event": "progress", "stage": "s", "fraction": 0.5, "seconds_left": None}


@pytest.mark.parametrize(
    "message",
    [
        SEGMENT,
        {**SEGMENT, "structures": ["a", "b c"]},
        {**SEGMENT, "with_model": "hippocampus-t1"},
        {**SEGMENT, "with_model": None},
        {**SEGMENT, "region": [[0.5, 1, -2]] * 8},
        DIAGNOSE,
        {"do": "quit"},
        {"id": 1, "do": "ping", "more": [1]},
    ],
)
def test_requests_pass(message):
    check_request(message)


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"id": 1, "do": ["ping"]},
        {"id": True, "do": "ping"},
        {"id": "1", "do": "cancel"},
        {"id": 1, "do": "segment", "volume": "v"},
        {**SEGMENT, "augment": True},
        {**SEGMENT, "probabilities": 1},
        {**SEGMENT, "structures": "a"},
        {**SEGMENT, "engine": None},
        {**SEGMENT, "with_model": ["hippocampus-t1"]},
        {**SEGMENT, "structures": [1]},
        {**SEGMENT, "region": [[0.5, 1, -2]] * 7},
        {**SEGMENT, "region": [[0.5, 1]] * 8},
        {**SEGMENT, "region": [[0.5, 1, "2"]] * 8},
        {**SEGMENT, "region": [[0.5, 1, float("nan")]] * 8},
        {**SEGMENT, "region": [[1, 1, 1]] * 8 + ["a"]},
        {**SEGMENT, "structures": ["a\0b"]},
        {**SEGMENT, "volume": ["v"]},
        {**SEGMENT, "output": "a\0b"},
        {**DIAGNOSE, "volumes": [1]},
        {**DIAGNOSE, "volumes": []},
        {**DIAGNOSE, "record": "a"},
    ],
)
def test_other_requests_are_refused(message):
    with pytest.raises(ValueError):
        check_request(message)


def test_answers_pass():
    check_answer(PROGRESS)
    check_answer({**PROGRESS, "history": [{"step": 1, "loss": float("nan")}]})


@pytest.mark.parametrize(
    "changes",
    [
        {"stage": None},
        {"fraction": "0.5"},
        {"fraction": float("nan")},
        {"fraction": 10**400},
        {"seconds_left": float("inf")},
        {"history": None},
        {"history": [1]},
        {"folder": 3},
    ],
)
def test_other_answers_are_refused(changes):
    with pytest.raises(ValueError):
        check_answer({**PROGRESS, **changes})
