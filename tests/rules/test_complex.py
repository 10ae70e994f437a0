"""Complex numbers and Fourier transforms: pairs of real ones, linear maps of them, and what every op keeps."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fft import fft, fft2, fftn, fftshift, hfft, ifft, ihfft, irfft, irfft2, rfft, rfft2

import provnet
from tests.nonlinear_cases import seeded
from tests.rules.one_function import keeps_its_promises

FILTER = torch.complex(seeded(90, 4), seeded(91, 4))
MATRIX = torch.complex(seeded(92, 4, 2), seeded(93, 4, 2))
TURNS = torch.polar(torch.ones(3, 2, dtype=torch.float64), seeded(94, 3, 2))
WINDOW = torch.hann_window(4, dtype=torch.float64)
KEPT = torch.tensor([True, False, True, True])


def low_pass(x: Tensor) -> Tensor:
    """Cut high frequencies in place."""
    z = rfft(x)
    z[:, 2:] = 0
    z[:, 0] *= 2j
    return irfft(z, n=x.shape[1])


def into_a_buffer(x: Tensor) -> Tensor:
    """The layer of a Fourier neural operator: some modes are mixed, the others are none."""
    z = rfft(x)
    out = torch.zeros(len(x), 4, dtype=z.dtype)
    out[:, :2] = torch.einsum("bi,io->bo", z, MATRIX)
    return irfft(out, n=6)


LINEAR: dict[str, tuple[tuple[int, ...], Callable[[Tensor], Tensor]]] = {
    "filtered": ((2, 6), lambda x: irfft(rfft(x) * FILTER)),
    "real part": ((2, 5), lambda x: fft(x).real),
    "conjugate": ((2, 5), lambda x: fft(x).conj().imag),
    "over both axes": ((2, 3, 4), lambda x: fft2(x).real),
    "over three axes": ((1, 2, 2, 3), lambda x: fftn(x, dim=(1, 2, 3)).real),
    "inverse, normed": ((2, 6), lambda x: ifft(fft(x, norm="ortho") * 1j, norm="forward").real),
    "images": ((1, 4, 3), lambda x: irfft2(rfft2(x, norm="ortho"), s=(4, 3))),
    "Hermitian": ((2, 5), lambda x: hfft(x) + ihfft(hfft(x), n=8).real.sum(1, keepdim=True)),
    "padded": ((2, 3), lambda x: irfft(rfft(x, n=6) * FILTER, n=6)[:, :3]),
    "shifted": ((2, 4), lambda x: fftshift(fft(x), dim=1).real.roll(1, 1)),
    "low pass": ((2, 6), low_pass),
    "some modes": ((2, 6), into_a_buffer),
    "rotary": ((2, 3, 4), lambda x: torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (-1, 2))) * TURNS)),
    "pieces": ((1, 8), lambda x: torch.stft(x, 4, 2, window=WINDOW, return_complex=True).transpose(1, 2).imag),
    "pieces laid back": (
        (1, 12),
        lambda x: torch.istft(torch.stft(x, 4, 1, window=WINDOW, return_complex=True), 4, 1, window=WINDOW),
    ),
    "sums": ((2, 6), lambda x: (2 - rfft(x) + rfft(x.flip(1)).mean(1, keepdim=True) * 3).imag),
    "chosen": ((2, 6), lambda x: torch.where(KEPT, torch.cat([rfft(x)[:, 2:], rfft(x)[:, :2]], 1), 0).real),
    "in another dtype": ((2, 4), lambda x: fft(x.float().to(torch.complex128)).real),
}
CURVED: dict[str, tuple[tuple[int, ...], Callable[[Tensor], Tensor]]] = {
    "lengths": ((2, 6), lambda x: rfft(x).abs()),
    "power": ((2, 6), lambda x: (rfft(x) * rfft(x).conj()).real + rfft(x).abs() ** 2),
    "square": ((2, 3), lambda x: (torch.complex(x, x + 1) ** 2).real),
    "correlation": ((2, 6), lambda x: irfft(rfft(x) * rfft(x.sin()).conj())),
    "quotient": ((2, 3), lambda x: (torch.complex(x, x + 1) / torch.complex(x + 3, x)).real),
    "reciprocal": ((2, 3), lambda x: torch.complex(x, x + 1).reciprocal().imag),
    "exponential": ((2, 3), lambda x: torch.exp(torch.complex(x, 2 * x)).imag),
    "polar": ((2, 3), lambda x: torch.polar(x.exp(), x.sin()).real),
    "a complex layer": ((2, 4), lambda x: F.linear(torch.complex(x, x.sin()), MATRIX.mT, 1j * MATRIX[0]).abs()),
    "shrunk": ((2, 6), lambda x: irfft(torch.view_as_complex(F.softshrink(torch.view_as_real(rfft(x)), 0.1)))),
}


WITH_GATES = ("filtered", "rotary", "low pass", "lengths", "correlation", "a complex layer")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.guarantee("complex numbers and Fourier transforms: gates are blocks, one answer by every route")
@pytest.mark.parametrize("name", WITH_GATES)
def test_promises(name: str) -> None:
    shape, function = (LINEAR | CURVED)[name]
    keeps_its_promises(function, seeded(95, *shape))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.guarantee(
    "complex numbers and Fourier transforms: autograd's derivative; linear chains are input x gradient"
)
@pytest.mark.parametrize("name", [*LINEAR, *CURVED])
def test_the_gradient_is_autograds(name: str) -> None:
    shape, function = (LINEAR | CURVED)[name]
    x = seeded(96, *shape)
    leaf = x.clone().requires_grad_()
    wanted = function(leaf).flatten(1)
    circuit = provnet.trace(lambda x: function(x).flatten(1), x)
    torch.testing.assert_close(circuit.outputs[0], wanted.detach())
    (slope,) = torch.autograd.grad(wanted[:, 1].sum(), leaf)
    torch.testing.assert_close(circuit.evaluate("real", 1, "gradient").inputs, slope)
    found = circuit.evaluate("real", 1, start="logit")
    assert found.conservation().holds(1e-9)
    if name in LINEAR and name != "sums":  # which adds a constant
        torch.testing.assert_close(found.inputs, x * slope)


def test_a_matrix_is_torchs_own_transform() -> None:
    """The numbers of the model are the transform's own, to rounding, and layers of one length share a matrix."""
    x = seeded(97, 2, 7)
    circuit = provnet.trace(lambda x: fft(fft(x).real).real, x)
    torch.testing.assert_close(circuit.outputs[0], fft(fft(x).real).real)
    first, second = (block.weight.stored for block in circuit.session.data.blocks if block.op == "aten.mm")
    assert first is not None and second is not None and first.values.data_ptr() == second.values.data_ptr()


class Parts(nn.Module):
    def __init__(self, then: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.then = then

    def forward(self, x: Tensor) -> Tensor:
        return self.then(x)


def test_a_modules_complex_output_goes_by_its_name_with_an_axis_of_parts() -> None:
    x = seeded(98, 2, 6)
    model = nn.Sequential(Parts(rfft), Parts(torch.abs))
    found = provnet.trace(model, x).evaluate("real", 1)
    assert found["0"].shape == found["1:in"].shape == (2, 4, 2)
    assert not found["0"][:, [0, 2, 3]].any()
    torch.testing.assert_close(found["0"][:, 1].sum(1), torch.ones(2, dtype=torch.float64))


def test_another_batch_is_put_through() -> None:
    """A recorded circuit answers for other inputs."""
    x = seeded(89, 3, 4, 6)

    def function(x: Tensor) -> Tensor:
        z = rfft(x)[..., 1:].transpose(-1, 1).unsqueeze(-1).expand(-1, -1, -1, 2)
        one, two = z.permute(0, 3, 1, 2).flatten(2).split(5, -1)[:2]
        return irfft(torch.cat([one.squeeze(1), two], 1).select(1, -1) + z.unbind(1)[0][:, 0, :1])

    circuit = provnet.trace(function, x[:1])
    whole = provnet.trace(function, x).evaluate("real", 0, "gradient").inputs
    leaf = x.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(function(leaf)[:, 0].sum(), leaf)
    torch.testing.assert_close(whole, wanted)
    torch.testing.assert_close(circuit.on(x).evaluate("real", 0, "gradient").inputs, whole)
