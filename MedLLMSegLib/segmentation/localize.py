"""Where in a whole head the left and the right hippocampus are, or that there is none."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.geometry import Grid, centred_grid, covering_grid, resample, transform_points
from MedLLMSegLib.core.progress import Report
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.networks.segmentation.localizer_network import (
    CLASSES,
    MIRRORED,
    LocalizerConfig,
    LocalizerNet,
)
from MedLLMSegLib.registry.bundle import Bundle, load_strictly

SIDES = ("left", "right")
CROP_MM = 80.0  # a scan no longer than this along any axis is a crop around one hippocampus
WINDOW_VOX = (80, 80, 80)  # second look, around what the first one found: 240 mm, a whole head
TILTED_VOX = (64, 64, 64)  # further looks, tilted: 192 mm
TILT_DEG = 12.0
FAINT = 0.03  # least probability that counts in them
STRAY_MM = 25.0  # a tilted look that puts a hippocampus further off than this saw something else
MOST_VOXELS = 24_000_000  # 3 mm voxels: a body of two metres
ADVICE = "load a T1 MRI of the head that shows the temporal lobes"


@dataclass(frozen=True)
class Location:
    """One hippocampus. centre_ras: mm. confidence: 0..1.

    volume_ml: of what the localizer saw, which is about four times a hippocampus (it is trained on
    widened ones).
    """

    side: str
    centre_ras: tuple[float, float, float]
    confidence: float
    volume_ml: float


@dataclass(frozen=True)
class Limits:
    """What a hippocampus has to look like to be believed.

    Chosen by hand: on the two real heads at hand the confidence was 0.7, on scans without a brain
    below 0.3, and what the localizer saw had 14 to 22 mL. `evaluate_localizer` says what these
    limits let through and what they miss. spread_mm is that of the centres of seven looks, chosen
    on synthetic images made for that: all that were off by more than 8 mm had one above 2.5 mm. A
    side alone (the other one out of view or gone) has less to vouch for it, and is held to `lone_`.
    """

    confidence: float = 0.5
    lone_confidence: float = 0.7
    volume_ml: tuple[float, float] = (2.0, 40.0)
    mirror_gap_mm: float = 8.0
    lone_mirror_gap_mm: float = 5.0
    distance_mm: tuple[float, float] = (35.0, 80.0)
    cerebrum_ml: float = 30.0
    own_side: float = 0.6
    spread_mm: float = 2.5


LOOSE = Limits(
    confidence=0.3, volume_ml=(1.0, 80.0), mirror_gap_mm=np.inf, cerebrum_ml=0.0, own_side=0.0
)  # of the first look


@dataclass(frozen=True)
class Candidate:
    """What speaks for one side.

    confidence: mean probability of the hippocampus in its core. mirror_gap_mm: between the centres
    found in the image and in its mirror image. cerebrum_ml: of the same side's cerebrum within 30
    mm; own_side: its share of both sides'.
    """

    side: str
    centre_ras: tuple[float, float, float]
    confidence: float
    volume_ml: float
    mirror_gap_mm: float
    cerebrum_ml: float
    own_side: float

    def faults(self, limits: Limits) -> list[str]:
        """Why this is not to be believed, as ends of the sentence "No hippocampus was found:
        ...".
        """
        low, high = limits.volume_ml
        checks = (
            (self.confidence >= limits.confidence, "nothing looks enough like one"),
            (
                low <= self.volume_ml <= high,
                f"what looks like one has {self.volume_ml:.1f} mL, which is not plausible",
            ),
            (self.mirror_gap_mm <= limits.mirror_gap_mm, "its place is uncertain"),
            (
                self.cerebrum_ml >= limits.cerebrum_ml,
                "there is too little brain around what looks like one",
            ),
            (self.own_side >= limits.own_side, "its side is uncertain"),
        )
        return [text for passed, text in checks if not passed]


class Localizer:
    """A trained network and the grid it works on."""

    def __init__(self, network: LocalizerNet, limits: Limits = Limits()):
        self.network, self.config, self.limits = network.eval(), network.config, limits

    @classmethod
    def from_bundle(cls, bundle: Bundle) -> Localizer:
        """Raises `UserError` when the bundle is not a localizer's or its weights do not fit."""
        if (
            bundle.metadata.get("kind") != "localizer"
            or tuple(bundle.metadata.get("classes", CLASSES)) != CLASSES
        ):
            raise UserError(
                f'The model bundle "{bundle.folder}" is not a localizer; give one of kind'
                ' "localizer".'
            )
        network = LocalizerNet(LocalizerConfig(**bundle.metadata["network"]))
        load_strictly(network, bundle.tensors)
        return cls(network)


def is_crop(volume: Volume) -> bool:
    """Whether the scan already is a crop around one hippocampus, so that nothing has to be
    located.
    """
    return max(volume.grid.extent_mm) <= CROP_MM


def localize(
    volume: Volume,
    localizer: Localizer,
    device: torch.device | str = "cpu",
    progress: Report | None = None,
) -> tuple[Location, ...]:
    """Find the hippocampi in a head in any orientation, with or without skull.

    Returns one or two locations, left before right. Raises `UserError` when no hippocampus can be
    trusted to be there.
    """
    say = progress or (lambda stage, fraction: None)
    say("localize", 0.0)
    wide = covering_grid(volume.grid, localizer.config.spacing_mm)
    if np.prod(wide.shape, dtype=float) > MOST_VOXELS:
        raise _nothing(
            volume,
            f"by its voxel size the scan covers {max(volume.grid.extent_mm) / 1000:.1f} m, "
            "which is more than a person",
        )
    first = [c for c in look(volume, wide, localizer, device) if not c.faults(LOOSE)]
    say("localize", 0.5)
    if not first:
        raise _nothing(volume, "nothing in it looks enough like one")
    # The second look always has the head in the middle of the same window: what it finds then
    # hardly depends on how the scan was cropped or on how the first grid fell.
    centre = np.mean([c.centre_ras for c in first], 0)
    window = centred_grid(centre, WINDOW_VOX, localizer.config.spacing_mm)
    found = decide(volume, look(volume, window, localizer, device), localizer.limits)
    found = steadied(
        found, volume, centre, localizer, device, lambda done: say("localize", 0.6 + 0.4 * done)
    )
    say("localize", 1.0)
    return found


def steadied(
    found: tuple[Location, ...], volume: Volume, centre, localizer: Localizer, device, say
) -> tuple[Location, ...]:
    """Each centre as the mean over seven looks: with the head as it is, and tilted six ways.

    A side on which the looks do not agree (`Limits.spread_mm`) is left out; `UserError` when none
    is left. With contrasts unlike any in training, one view can be 10 mm off, because only part of
    the organ responds; hence the low threshold.
    """
    centres: dict[str, list[np.ndarray]] = {place.side: [] for place in found}
    tilts = [("x", 0), *((axis, sign) for axis in "xyz" for sign in (1, -1))]
    for n, (axis, sign) in enumerate(tilts):
        say(n / len(tilts))
        grid = _tilted(centre, axis, sign * TILT_DEG, localizer.config.spacing_mm)
        image = to_unit_range(
            resample(volume.array, volume.grid, grid, outside=float(volume.array.min()))
        )
        seen = one_view(image, localizer.network, device, mirrored=sign < 0)
        for place in found:
            probability = seen[CLASSES.index(f"{place.side}_hippocampus")]
            core = _core(probability, FAINT)
            if core is not None:
                centre_ras = transform_points(grid.ijk_to_ras, _centroid(probability * core)[::-1])
                near = np.linalg.norm(centre_ras - place.centre_ras) <= STRAY_MM
                centres[place.side] += [centre_ras] if near else []
    agreed = [
        place for place in found if _spread(centres[place.side]) <= localizer.limits.spread_mm
    ]
    if not agreed:
        raise _nothing(volume, "its place is uncertain")
    return tuple(
        replace(p, centre_ras=tuple(float(x) for x in np.mean(centres[p.side], 0))) for p in agreed
    )


def _spread(centres: list[np.ndarray]) -> float:
    """Root mean square distance (mm) of several looks' centres from their mean; infinite for
    fewer than four.
    """
    if len(centres) < 4:
        return np.inf
    return float(np.sqrt(((np.array(centres) - np.mean(centres, 0)) ** 2).sum(1).mean()))


def _tilted(centre, axis: str, degrees: float, spacing_mm: float) -> Grid:
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler(axis, degrees, degrees=True).as_matrix()
    matrix = turn @ centred_grid((0, 0, 0), TILTED_VOX, spacing_mm).ijk_to_ras
    matrix[:3, 3] += centre
    return Grid(TILTED_VOX, matrix)


def _nothing(volume: Volume, why: str) -> UserError:
    return UserError(f'No hippocampus was found in "{volume.name}": {why}; {ADVICE}.')


def to_unit_range(image: np.ndarray) -> np.ndarray:
    """float32 in 0..1 between the 0.5th and the 99.5th percentile: one bright vessel or implant
    must not set the scale.
    """
    low, high = np.percentile(image, (0.5, 99.5))
    if not high > low:
        low, high = float(image.min()), float(image.max())
    scale = 1.0 / (high - low) if high > low else 0.0
    return ((image - low) * scale).clip(0, 1).astype(np.float32)


def look(
    volume: Volume, grid: Grid, localizer: Localizer, device: torch.device | str
) -> list[Candidate]:
    """The best candidate of each side on a grid along the RAS axes; none for a side with nothing
    at all.
    """
    image = to_unit_range(
        resample(volume.array, volume.grid, grid, outside=float(volume.array.min()))
    )
    plain, mirrored = both_views(image, localizer.network, device)
    return candidates(plain, mirrored, grid)


def both_views(image: np.ndarray, network: LocalizerNet, device) -> tuple[np.ndarray, np.ndarray]:
    """Class probabilities [6, k, j, i] of an image [k, j, i] in 0..1, seen as it is and in the
    mirror.

    Where the two disagree on a side, neither can be trusted.
    """
    return one_view(image, network, device), one_view(image, network, device, mirrored=True)


@torch.inference_mode()
def one_view(
    image: np.ndarray, network: LocalizerNet, device, mirrored: bool = False
) -> np.ndarray:
    """Class probabilities [6, k, j, i] of an image [k, j, i] in 0..1; of its mirror image, axes
    and classes turned back.
    """
    multiple = network.config.multiple
    padding = [(0, -n % multiple) for n in image.shape]
    padded = torch.from_numpy(np.pad(image, padding))[None, None].to(device)  # (1, 1, K, J, I)
    logits = network.to(device)(padded.flip(-1) if mirrored else padded).float()
    if mirrored:
        logits = logits.flip(-1)[:, list(MIRRORED)]
    return logits.softmax(1)[0].cpu().numpy()[:, *(slice(n) for n in image.shape)]


def candidates(plain: np.ndarray, mirrored: np.ndarray, grid: Grid) -> list[Candidate]:
    """The best candidate of each side from two views' probabilities [6, k, j, i]."""
    both = (plain + mirrored) / 2
    found = []
    for number, side in enumerate(SIDES):
        channel = CLASSES.index(f"{side}_hippocampus")
        core = _core(both[channel])
        if core is None:
            continue
        centre = _centroid(both[channel] * core)
        one, other = (_view_centre(view[channel], core) for view in (plain, mirrored))
        own, opposite = (
            _cerebrum_around(both[CLASSES.index(f"{s}_cerebrum")], centre, grid)
            for s in (side, SIDES[1 - number])
        )
        weights = both[channel][core]
        found.append(
            Candidate(
                side,
                tuple(float(x) for x in transform_points(grid.ijk_to_ras, centre[::-1])),
                confidence=float((weights**2).sum() / weights.sum()),
                volume_ml=float(weights.sum()) * grid.voxel_ml,
                mirror_gap_mm=float(np.linalg.norm((one - other) * grid.spacing_mm)),
                cerebrum_ml=own,
                own_side=own / max(own + opposite, 1e-6),
            )
        )
    return found


def _core(probability: np.ndarray, threshold: float = 0.2) -> np.ndarray | None:
    """bool [k, j, i]: the connected region above the threshold that holds most of the
    probability.
    """
    regions, count = ndimage.label(probability > threshold, np.ones((3, 3, 3)))
    if not count:
        return None
    return regions == 1 + int(
        np.argmax(ndimage.sum_labels(probability, regions, np.arange(1, count + 1)))
    )


def _centroid(weights: np.ndarray) -> np.ndarray:
    """(3,) centre of mass of an array [k, j, i], in voxels."""
    return np.array(ndimage.center_of_mass(weights))


def _view_centre(probability: np.ndarray, core: np.ndarray) -> np.ndarray:
    """(3,) voxels: the centre that one view alone would give, in the neighbourhood of the common
    core or elsewhere.
    """
    own = _core(probability)
    if own is None:
        return np.full(3, np.inf)
    return _centroid(
        probability * (own if not (own & core).any() else own & ndimage.binary_dilation(core))
    )


def _cerebrum_around(
    probability: np.ndarray, centre: np.ndarray, grid: Grid, radius_mm: float = 30.0
) -> float:
    """Millilitres of a class within a ball around ``centre`` (k, j, i)."""
    reach = [int(np.ceil(radius_mm / s)) for s in grid.spacing_mm]
    box = tuple(slice(max(0, int(c) - r), int(c) + r + 2) for c, r in zip(centre, reach))
    steps = [
        ((np.arange(s.start, min(s.stop, n)) - c) * mm) ** 2
        for s, n, c, mm in zip(box, probability.shape, centre, grid.spacing_mm)
    ]
    ball = (
        steps[0][:, None, None] + steps[1][None, :, None] + steps[2][None, None, :] <= radius_mm**2
    )
    return float(probability[box][ball].sum()) * grid.voxel_ml


def decide(volume: Volume, found: list[Candidate], limits: Limits) -> tuple[Location, ...]:
    """The locations that can be trusted; `UserError` when there are none."""
    good = [c for c in found if not c.faults(limits)]
    if len(good) == 2:
        left, right = (np.array(c.centre_ras) for c in good)
        apart, (low, high) = float(np.linalg.norm(right - left)), limits.distance_mm
        if not low <= apart <= high or right[0] - left[0] < 0.5 * apart:
            raise _nothing(
                volume,
                f"two places look like one, but they are {apart:.0f} mm apart "
                "and not where left and right would be",
            )
        return tuple(_location(c) for c in good)
    strict = replace(
        limits, confidence=limits.lone_confidence, mirror_gap_mm=limits.lone_mirror_gap_mm
    )
    alone = [c for c in good if not c.faults(strict)]
    if not alone:
        reasons = [c.faults(strict if c in good else limits)[0] for c in found]
        raise _nothing(volume, reasons[0] if reasons else "nothing in it looks enough like one")
    return (_location(alone[0]),)


def _location(candidate: Candidate) -> Location:
    return Location(candidate.side, candidate.centre_ras, candidate.confidence, candidate.volume_ml)
