"""A minute of `make torture`; and that the torture sees the faults that it is there for."""

import hashlib
from random import Random

import pytest

from MedLLMSegLib.core.errors import UserError
from Testing.torture import dicom_files, models, pictures, scans
from Testing.torture.kinds import KINDS
from Testing.torture.pool import KIND_NAMES, Case, cases_in_turn, run_cases

SEED = 17


def test_the_names_of_the_kinds():
    assert tuple(name for name in KINDS if not name.startswith("trap-")) == KIND_NAMES


@pytest.mark.parametrize("name", KIND_NAMES)
def test_a_case_is_its_seed_and_number(tmp_path, name):
    def digest(folder):
        folder.mkdir()
        KINDS[name].write(Random(f"{name} 3 4"), folder)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]

    assert digest(tmp_path / "a") == digest(tmp_path / "b") != []


def undamaged(folder):
    """Whole files of each kind, and who reads them: (kind, path)."""

    def written(name, data):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    for n, data in enumerate(scans.nifti_seeds()[:-1]):  # the last one is NIfTI-2
        yield "nifti", written(f"nifti{n}/a.nii", data)
    for kind, suffixes in (("nrrd", scans.NRRD_SUFFIXES), ("mha", scans.META_SUFFIXES)):
        for n, files in enumerate(scans.itk_seeds(suffixes)):
            paths = [written(f"{kind}{n}/{name}", data) for name, data in files.items()]
            yield kind, paths[0]
    yield "png", written("a.png", pictures.seeds("PNG")[0])
    yield "jpeg", written("a.jpg", pictures.seeds("JPEG")[0])
    yield "tiff", written("a.tif", pictures.seeds("TIFF")[0])
    for use, files in dicom_files.seeds().items():
        paths = [written(f"{use}/{n}.dcm", data) for n, data in enumerate(files)]
        yield "dicom", paths[0].parent if use == "series" else paths[0]
    yield "safetensors", written("layers.safetensors", models.layers_file())
    for n, data in enumerate(models.gguf_files()):
        yield "gguf", written(f"{n}.gguf", data)
    for n, files in enumerate(models.bundles()):
        yield "bundle", models.write_files(files, folder / f"{n}" / "bundle")
        yield "zip", written(f"{n}.zip", models.zip_bytes(Random(0), files, "none"))


def test_undamaged_files_are_read(tmp_path):
    """Else the cases would all be refused for another fault than the damage."""
    seen = set()
    for kind, path in undamaged(tmp_path):
        try:
            KINDS[kind].read(path)
        except UserError as error:
            pytest.fail(f"{kind} {path}: {error}")
        seen.add(kind)
    assert seen == {name for name in KIND_NAMES if not name.startswith("worker")}


@pytest.mark.slow
def test_every_fault_is_seen():
    traps = [name for name in KINDS if name.startswith("trap-")]
    tallies = run_cases(iter([Case(name, SEED, 0) for name in traps]))
    for name in traps:
        expected = name.removeprefix("trap-").replace("-", " ")
        assert dict(tallies[name].counts) == {expected: 1}, tallies[name].faults


@pytest.mark.slow
def test_a_minute_of_torture():
    tallies = run_cases(cases_in_turn(KIND_NAMES, SEED, number=200, minutes=1))
    faults = [fault for tally in tallies.values() for fault in tally.faults]
    assert not faults, "\n".join(f"{f.case}: {f.outcome}: {f.detail[-2000:]}" for f in faults)
    for name, tally in tallies.items():
        assert sum(tally.counts.values()) >= 5, name
