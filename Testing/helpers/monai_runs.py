"""One scan through MONAI's runner and through ours, and the comparison of the two label maps."""

import numpy as np
from monai.bundle import run

from MedLLMSegLib import load_volume
from MedLLMSegLib.cli import main as cli
from MedLLMSegLib.registry.bundle import INFERENCE


def by_monai(bundle, scan, output, **more):
    run(
        config_file=str(bundle / INFERENCE),
        bundle_root=str(bundle),
        scan=str(scan),
        output_dir=str(output),
        device="cpu",
        **more,
    )
    return load_volume(output / f"{scan.name.removesuffix('.nii.gz')}_seg.nii.gz")


def by_us(bundle, scan, output):
    """In fp32, which MONAI's runner computes in."""
    assert (
        cli.main(
            [
                "segment",
                str(scan),
                "--model",
                str(bundle),
                "--device",
                "cpu",
                "--precision",
                "fp32",
                "--output",
                str(output),
            ]
        )
        == 0
    )
    return load_volume(output)


def assert_same(one, other):
    assert one.array.dtype == other.array.dtype == np.uint8
    assert one.array.shape == other.array.shape
    assert np.abs(one.grid.corners_ras() - other.grid.corners_ras()).max() < 1e-3
    assert np.array_equal(one.array, other.array), (
        f"{(one.array != other.array).sum()} voxels differ"
    )
