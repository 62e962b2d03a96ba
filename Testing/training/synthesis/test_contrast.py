"""Grey values: similar tissues alike or not, air dark, texture within bounds."""

import torch

from MedLLMSegLib.training.synthesis.contrast import ContrastConfig, draw_contrast, painted
from MedLLMSegLib.training.synthesis.draw import Draw
from Testing.training.synthesis.made_up_head import made_up_head

SOURCE = made_up_head()
NUMBERS = (0, 2, 3, 4, 10, 17, 18, 24, 511)


def test_alike_tissues_get_alike_greys_only_where_that_is_asked_for():
    def gap(alike: float) -> float:
        """Mean difference of hippocampus and amygdala, which look alike in every contrast."""
        means = [
            draw_contrast(NUMBERS, Draw(n), ContrastConfig(alike=alike))[0] for n in range(200)
        ]
        return float(torch.stack([abs(m[5] - m[6]) for m in means]).mean())

    assert gap(1.0) < 0.1
    assert gap(0.0) > 0.25


def test_any_order_of_greys_occurs():
    """White matter is brighter than cortex in some images and darker in others, and so is fluid."""
    means = [draw_contrast(NUMBERS, Draw(n), ContrastConfig())[0] for n in range(60)]
    for one, other in ((1, 2), (3, 2), (7, 1)):
        share = sum(float(m[one] > m[other]) for m in means) / len(means)
        assert 0.25 < share < 0.75


def test_every_voxel_is_painted_near_the_mean_of_its_tissue():
    tissues = torch.from_numpy(SOURCE.tissues)
    config = ContrastConfig(spread=0.02)
    means, deviations = draw_contrast(SOURCE.numbers, Draw(4), config)
    assert deviations.max() <= 0.02
    image = painted(tissues, SOURCE.numbers, Draw(4), config)
    for place in range(len(SOURCE.numbers)):
        own = image[tissues == place]
        assert abs(float(own.mean() - means[place])) < 0.05
