"""Every line between the worker and its owner is one message."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from MedLLMSegLib.worker.protocol import Event, decode, encode


def test_a_message_is_one_line_of_ascii_whatever_is_in_it():
    message = {
        "id": 1,
        "volume": Path("/tmp/Größe ☃/日本 \udc80\nnew line"),
        "side": None,
        "fraction": 0.1,
    }
    line = encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert line.isascii()
    assert decode(line) == {**message, "volume": str(message["volume"])}
    assert decode(line.replace(b"\n", b"\r\n")) == decode(line)
    with pytest.raises(TypeError):
        encode({"array": np.zeros(3)})


@pytest.mark.parametrize(
    "line",
    (
        b"\n",
        b"hello\n",
        b"[1, 2]\n",
        b'"text"\n',
        b'{"id": 1\n',
        b"\xff\xfe\x00",
        "{'☃'}\n".encode(),
        b"[" * 100_000,
    ),
)
def test_what_is_no_message_is_a_value_error(line):
    with pytest.raises(ValueError):
        decode(line)


def test_an_event_takes_what_it_knows_and_keeps_the_rest():
    event = Event.from_message(
        {
            "id": 3,
            "event": "progress",
            "stage": "segment",
            "fraction": 0.5,
            "seconds_left": None,
            "history": [{"step": 1, "loss": 0.5}],
            "more": 1,
        }
    )
    assert (event.id, event.stage, event.fraction, event.seconds_left, event.final) == (
        3,
        "segment",
        0.5,
        None,
        False,
    )
    assert event.history == ({"step": 1, "loss": 0.5},)
    assert event.data["more"] == 1
    assert Event.from_message({"id": 3, "event": "error", "kind": "user"}).final


def test_a_panel_that_imports_the_client_imports_nothing_heavy():
    code = (
        "import sys, MedLLMSegLib.worker.client, MedLLMSegLib.worker.server as s; "
        "print(sorted({'torch', 'numpy', 'scipy', 'monai', 'qt', 'slicer'} & set(sys.modules)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=True,
    )
    assert out.stdout.strip() == "[]"
