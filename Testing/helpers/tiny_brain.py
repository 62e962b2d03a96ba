"""A whole-scan model like that of the brain, tiny and with random weights: sides, blocks of voxels,
a closer look. And its graphs, which take seconds to make and are made once.
"""

import functools
import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from MedLLMSegLib import Volume
from MedLLMSegLib.anatomy.structures import named_structures
from MedLLMSegLib.edge.exported_folder import LIST
from MedLLMSegLib.edge.write_export import export_model
from MedLLMSegLib.engines.convert import write_openvino
from MedLLMSegLib.engines.graph_folder import GraphFile
from MedLLMSegLib.networks.build import build_network
from MedLLMSegLib.registry.bundle import write_bundle
from MedLLMSegLib.registry.network_config import BRAIN

TINY = replace(
    BRAIN,
    classes=4,
    stem_channels=(4, 6),
    strides=((2, 2, 2), (1, 2, 2)),
    width=12,
    heads=2,
    depth=1,
    llm=None,
)
ABOUT = {
    "id": "tiny-brain",
    "kind": "segmenter",
    "title": "Tiny",
    "modality": "MR",
    "anatomy": None,
    "licence": "MIT",
    "structures": ["one", "two", "three", "four", "five"],
    "accuracy": "not measured",
    "network": TINY.to_dict(),
    "labels": [
        s.to_dict()
        for s in named_structures({3: "one", 4: "two", 7: "three", 8: "four", 9: "five"})
    ],
    "label_table": [[0, 0], [3, 4], [7, 8], [9, 9]],
    "preprocessing": {
        "spacing_mm": 1.5,
        "axes": "ras",
        "window": [32, 32, 32],
        "whole_vox": 1e6,
        "closer_look_mm": 2.0,
        "keep_largest": "each",
    },
    "calibration": {"temperature": 1.3},
}


def tiny_brain(folder, **preprocessing):
    """Its bundle. preprocessing: what is other than in `ABOUT`."""
    torch.manual_seed(5)
    network = build_network(TINY)
    torch.nn.init.normal_(network.fusion.out.weight)  # at first the fusion changes nothing
    tensors = {
        name: 6 * t if name == "decoder.head.queries" else t
        for name, t in network.state_dict().items()
    }
    about = {**ABOUT, "preprocessing": {**ABOUT["preprocessing"], **preprocessing}}
    return write_bundle(folder, about, tensors, "card", "licence")


def tiny_scan(shape=(40, 47, 36)):
    """Blobs in air, stored with other axes than the body's, at an angle."""
    rng = np.random.default_rng(2)
    grids = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    inside = sum(g**2 for g in grids) < 0.5
    array = np.where(inside, 80 + 30 * np.sin(9 * grids[0]) + 20 * grids[2], 3)
    turn = np.radians(8)
    matrix = np.array(
        [
            [0, -1.4 * np.sin(turn), -1.2 * np.cos(turn), 20],
            [0, 1.4 * np.cos(turn), -1.2 * np.sin(turn), -15],
            [1.3, 0, 0, 4],
            [0, 0, 0, 1],
        ]
    )
    return Volume((array + rng.normal(0, 2, shape)).astype(np.float32), matrix, "blobs")


@functools.cache
def _folder():
    folder = tempfile.TemporaryDirectory(prefix="medllmseg-test-")
    return folder, Path(folder.name)


@functools.cache
def exported_tiny_brain(engine):
    """The exported folder. It takes seconds the first time, so OpenVINO's is made of the other, as
    `network_graphs` does.
    """
    folder = _folder()[1]
    if engine == "onnx":
        return export_model(tiny_brain(folder / "bundle"), engine, folder / engine)
    shutil.copytree(exported_tiny_brain("onnx"), folder / engine)
    listed = json.loads((folder / engine / LIST).read_text(encoding="utf-8"))
    for name, data in listed["graphs"].items():
        graph = GraphFile.from_dict(data)
        path = write_openvino(folder / engine / f"{name}.onnx", folder / engine / f"{name}.xml")
        made = GraphFile.of(engine, path, graph.multiple, graph.fold)
        listed["graphs"][name] = made.to_dict()
    text = json.dumps({**listed, "engine": engine})
    (folder / engine / LIST).write_text(text, encoding="utf-8")
    return folder / engine
