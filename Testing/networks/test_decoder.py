"""The decoders give logits at every voxel, and their parameters keep their order."""

import torch

from MedLLMSegLib.networks.parts.decoder import ConvDecoder, LinearDecoder

HALVES = (2, 2, 2)
CUBE = (3, 3, 3)


def test_a_linear_decoder_puts_each_voxel_of_a_patch_at_its_place():
    decoder = LinearDecoder(1, 1, (2, 3, 4))
    with torch.no_grad():
        decoder.project.weight.zero_()
        decoder.project.bias.copy_(torch.arange(24.0))
    logits = decoder(torch.zeros(1, 1, 2, 1, 1), [])
    patch = torch.arange(24.0).reshape(2, 3, 4)
    assert torch.equal(logits[0, 0], torch.cat([patch, patch]))


def test_the_parameters_keep_the_order_that_stored_optimisers_go_by():
    """A training that version 0.3 began is resumed: Adam's moments are stored by position."""
    decoder = ConvDecoder(8, (4, 6), 3, (HALVES,) * 2, (CUBE,) * 2, deep_supervision=True)
    parts = [name.partition(".")[0] for name, _ in decoder.named_parameters()]
    assert list(dict.fromkeys(parts)) == ["up", "join", "head", "coarse_heads"]
