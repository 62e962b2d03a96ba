"""A training's weights in a small file: how near they come back, and what is refused."""

import pytest
import torch
from torch import nn

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.training.small_checkpoint import (
    SmallCheckpoint,
    checkpoint_of,
    compact,
    expanded,
    main,
    read_small,
    write_small,
)


def network(seed=0, width=40):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv3d(1, width, 3), nn.BatchNorm3d(width), nn.Conv3d(width, 5, 1))


def small(made, step=1234):
    weights = {name: tensor.float() for name, tensor in made.state_dict().items()}
    return SmallCheckpoint(weights, weights, step, 56.0)


def test_what_comes_back_is_within_half_a_step_of_each_channels_scale():
    torch.manual_seed(0)
    matrix = torch.randn(6, 128, 3, 3, 3) * torch.logspace(-3, 2, 6).view(6, 1, 1, 1, 1)
    vector, few = torch.randn(7), torch.randn(7, 9)
    back = expanded(compact({"matrix": matrix, "vector": vector, "few": few}))
    assert set(back) == {"matrix", "vector", "few"}
    largest = matrix.flatten(1).abs().amax(1)
    error = (back["matrix"] - matrix).flatten(1).abs().amax(1)
    assert (error <= largest / 127 * 0.57).all()  # half a step, and the rounding of the scale
    assert (error > 0).all()
    torch.testing.assert_close(back["vector"], vector, atol=0, rtol=1e-3)
    torch.testing.assert_close(back["few"], few, atol=0, rtol=1e-3)


def test_zeros_and_numbers_beyond_float16_stay_what_they_are():
    odd = {
        "zeros": torch.zeros(150, 150),
        "steps": torch.tensor(123_457),
        "tiny": torch.full((2,), 1e-3),
    }
    odd["mixed"] = torch.tensor([[0.0], [1.0], [-1.0]]).expand(3, 9000)
    back = expanded(compact(odd))
    assert torch.equal(back["zeros"], odd["zeros"])
    assert back["steps"] == 123_457
    torch.testing.assert_close(back["mixed"], odd["mixed"], atol=1e-3, rtol=0)


def test_a_million_weights_are_a_megabyte_and_both_kinds_are_two(tmp_path):
    many = nn.Linear(1000, 1000)
    for with_own, bytes_ in ((False, 1.0e6), (True, 2.0e6)):
        write_small(tmp_path / "small", small(many), with_own)
        assert (tmp_path / "small").stat().st_size == pytest.approx(bytes_, rel=0.01)


def test_a_training_that_starts_from_it_has_its_weights_and_its_step(tmp_path):
    made = network()
    made(torch.randn(2, 1, 8, 8, 8))  # which moves the batch norm's buffers
    write_small(tmp_path / "small", small(made))
    read, other = read_small(tmp_path / "small"), network(seed=1)
    assert (read.step, read.seconds) == (1234, 56.0)
    read.fill(other)
    for name, tensor in other.state_dict().items():
        torch.testing.assert_close(
            tensor.float(), made.state_dict()[name].float(), atol=2e-3, rtol=1e-3
        )
    assert int(other[1].num_batches_tracked) == 1
    image = torch.randn(1, 1, 8, 8, 8)
    torch.testing.assert_close(other.eval()(image), made.eval()(image), atol=0.02, rtol=0)


def test_own_weights_are_kept_apart_where_they_are_asked_for(tmp_path):
    own = {"w": torch.ones(150, 150)}
    both = SmallCheckpoint({"w": torch.zeros(150, 150)}, own, 1, 0.0)
    for with_own, value in ((False, 0.0), (True, 1.0)):
        write_small(tmp_path / "small", both, with_own)
        assert float(read_small(tmp_path / "small").own["w"].mean()) == pytest.approx(
            value, abs=1e-3
        )


@pytest.mark.parametrize("names", [("network", "average", "seconds"), ("own", "ema", "t")])
def test_the_command_makes_it_of_a_checkpoint(tmp_path, capsys, names):
    weights = network().state_dict()
    own, average, seconds = names
    halved = {k: v.float() / 2 for k, v in weights.items()}
    torch.save({own: weights, average: halved, "step": 7, seconds: 9.0}, tmp_path / "last.pt")
    assert main([str(tmp_path / "last.pt"), str(tmp_path / "small.safetensors"), "--own"]) == 0
    assert "step 7" in capsys.readouterr().out
    read = read_small(tmp_path / "small.safetensors")
    assert (read.step, read.seconds) == (7, 9.0)
    torch.testing.assert_close(read.own["0.bias"], 2 * read.average["0.bias"])
    assert checkpoint_of(tmp_path / "last.pt").step == 7


def test_another_network_and_other_files_are_one_sentence(tmp_path):
    with pytest.raises(UserError, match="another network"):
        small(network()).fill(network(width=39))
    with pytest.raises(UserError, match="another network"):
        small(network()).fill(nn.Linear(2, 2))
    (tmp_path / "text").write_text("no weights")
    with pytest.raises(UserError, match="cannot be read"):
        read_small(tmp_path / "text")
    from safetensors.torch import save_file

    save_file({"w": torch.ones(1)}, tmp_path / "plain")
    with pytest.raises(UserError, match="not a small checkpoint"):
        read_small(tmp_path / "plain")
