"""The study of a classifier's engines says how far each lies from torch, and how fast it is."""

from types import SimpleNamespace

import numpy as np

from MedLLMSegLib.studies.classifier_engines import Measured, lines, main, measure

MODEL = SimpleNamespace(temperature=1.0, threshold=0.5, entry=SimpleNamespace(id="m"))


def test_an_image_goes_alone_and_as_often_as_asked():
    seen = []

    def run(image):
        seen.append(image.shape)
        return image.reshape(1, -1)[:, :2]

    images = np.arange(24, dtype=np.float32).reshape(3, 1, 2, 4)
    found = measure("onnx", 2.0, run, images, repeats=2)
    assert seen == [(1, 1, 2, 4)] * 6
    assert found.logits.tolist() == [[0, 1], [8, 9], [16, 17]]


def test_the_table_counts_other_answers():
    base = Measured("torch", 30.0, np.array([[0, 2], [0, -0.1]], np.float32), 0.4)
    other = Measured("onnx", 20.0, np.array([[0, 2], [0, 0.1]], np.float32), 0.1)
    last = lines(MODEL, [base, other]).splitlines()[-1]
    assert last == "| onnx | 20.0 | 0.02498 (0.04996) | 1 of 2 | 100 | 4.00 |"


def test_data_that_are_not_there_are_one_sentence(tmp_path, capsys):
    assert main(["--data", str(tmp_path / "x"), "--output", str(tmp_path / "o")]) == 2
    assert "classifier_engines: " in capsys.readouterr().err
