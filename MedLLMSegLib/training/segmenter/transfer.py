"""Begin a training with the weights of another model."""

from __future__ import annotations

from torch import Tensor, nn

from MedLLMSegLib.core.errors import UserError


def check_licence(asked: str, base: str, licence: str | None) -> None:
    """Raise `UserError` where a licence is asked for that the model (its id and licence) whose
    weights are tuned does not leave free.
    """
    if (
        asked
        and licence
        and asked != licence
        and {"SA", "NC", "ND"} & set(licence.upper().split("-"))
    ):
        raise UserError(
            f"{base} is under {licence}, which binds what is trained from it, so --licence {asked}"
            " is not allowed; leave --licence out."
        )


def fill_from(network: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Begin with a bundle's weights; what does not fit (the head, for other structures) stays new.

    Where slices are thicker or thinner than the bundle's were, so that they are halved elsewhere,
    its kernels are made to fit.
    """
    own = network.state_dict()
    upward = {
        f"{name}.weight"
        for name, module in network.named_modules()
        if isinstance(module, nn.ConvTranspose3d)
    }
    fitting = {
        name: fit_kernel(tensor, own[name].shape[2:], name in upward)
        for name, tensor in tensors.items()
        if name in own and own[name].shape[:2] == tensor.shape[:2] and own[name].ndim == tensor.ndim
    }
    fitting = {name: tensor for name, tensor in fitting.items() if tensor.shape == own[name].shape}
    network.load_state_dict(fitting, strict=False)


def fit_kernel(kernel: Tensor, size: tuple[int, ...], upward: bool) -> Tensor:
    """A convolution's kernel (C, C', K, J, I) for another size: what is constant along a changed
    axis gets the same answer.

    Carreira and Zisserman (2017) inflate kernels of images to kernels of videos so. upward: of a
    transposed convolution whose stride is its size, where each voxel gets one value of the kernel;
    elsewhere a voxel gets the sum of all.
    """
    for axis, n in enumerate(size, 2):
        if kernel.shape[axis] != n:
            total = (
                kernel.mean(axis, keepdim=True) if upward else kernel.sum(axis, keepdim=True) / n
            )
            kernel = total.repeat_interleave(n, axis)
    return kernel
