"""Classes are recognised by inheritance, as isinstance does, and never by the text of their names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import provnet
from provnet import rules
from provnet.errors import UnknownNameError


class StdConv2d(nn.Conv2d):
    """A convolution of its own class."""


class Own(StdConv2d):
    """One more step down."""


class Linear(nn.Module):
    """Named like torch's own, and none of its kin."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 8))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.t()


def net(conv: nn.Module, *more: nn.Module) -> nn.Module:
    return nn.Sequential(conv, *more, nn.Flatten(), nn.Linear(8, 2)).eval()


def rule_at(model: nn.Module, composite: rules.Composite, block: int = 0) -> str:
    return provnet.trace(model, torch.rand(1, 1, 4, 4)).plan(composite).rows[block].rule.partition("(")[0]


CONVOLUTIONS = {
    "plain": lambda: nn.Conv2d(1, 2, 3),
    "a subclass": lambda: StdConv2d(1, 2, 3),
    "a subclass of a subclass": lambda: Own(1, 2, 3),
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 2, 3)),
    "spectral norm": lambda: nn.utils.parametrizations.spectral_norm(nn.Conv2d(1, 2, 3)),
    "both": lambda: nn.utils.parametrizations.weight_norm(Own(1, 2, 3)),
    "padding_mode": lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 2, 3, 2, 1, padding_mode="circular")),
}


@pytest.mark.guarantee("a composite's module class means all its instances: subclasses and parametrised layers too")
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_class_means_all_its_instances(name: str):
    circuit = provnet.trace(net(CONVOLUTIONS[name]()), torch.rand(1, 1, 4, 4))
    for key in (nn.Conv2d, rules.Module("Conv2d"), rules.Module("torch.nn.modules.conv.Conv2d")):
        rows = circuit.plan(rules.Composite({key: rules.ZPlus()})).rows
        (row,) = (row for row in rows if row.op == "aten.convolution")
        assert row.rule.startswith("ZPlus"), key
        assert row.path == "0"  # a module that computes its weight first is a layer still
        assert rows[-1].rule == "Zero()"


@pytest.mark.guarantee("of the classes that a composite or opaque= names, the most specific one decides")
def test_the_most_specific_class_decides_wherever_it_stands():
    entries = [(nn.Conv2d, rules.ZPlus()), (StdConv2d, rules.Flat())]
    for pairs in (entries, entries[::-1]):
        assert rule_at(net(Own(1, 2, 3)), rules.Composite(pairs)) == "Flat"
        assert rule_at(net(nn.Conv2d(1, 2, 3), StdConv2d(2, 2, 1)), rules.Composite(pairs)) == "ZPlus"
    # Option by option: what the subclass does not say is the base's; and a path still overrides both.
    more = rules.Composite([(StdConv2d, {"bias": False}), (nn.Conv2d, {"rule": "flat", "bias": True})])
    circuit = provnet.trace(net(Own(1, 2, 3)), torch.rand(1, 1, 4, 4))
    choice = more.assign(circuit.session.data)[0]
    assert choice is not None
    assert (choice.rule, dict(choice.conventions)) == (rules.Flat(), {"bias": False})
    assert rule_at(net(Own(1, 2, 3)), rules.Composite([*entries, ("0", rules.WSquare())])) == "WSquare"


def test_a_namesake_is_no_instance():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), Linear()).eval()
    circuit = provnet.trace(model, torch.rand(1, 1, 4, 4))
    found = [row.rule.partition("(")[0] for row in circuit.plan(rules.Composite({nn.Linear: rules.Flat()})).rows]
    assert (found[1], found[2]) == ("Flat", "Zero")
    found = [row.rule.partition("(")[0] for row in circuit.plan(rules.Composite({Linear: rules.Flat()})).rows]
    assert (found[1], found[2]) == ("Zero", "Flat")


def test_a_fused_batch_norm_is_an_instance_of_both():
    model = net(Own(1, 2, 3), nn.BatchNorm2d(2))
    for key in (nn.Conv2d, StdConv2d, nn.BatchNorm2d, nn.modules.batchnorm._BatchNorm):
        assert rule_at(model, rules.Composite({key: rules.Flat()})) == "Flat"
    later = rules.Composite([(nn.BatchNorm2d, rules.Flat()), (nn.Conv2d, rules.ZPlus())])
    assert rule_at(model, later).startswith("ZPlus")  # neither class inherits from the other


def test_classes_survive_a_file_and_json(tmp_path: Path):
    composite = rules.Composite({nn.Conv2d: rules.ZPlus()})
    assert rules.from_json(rules.to_json(composite)) == composite
    provnet.save(provnet.trace(net(Own(1, 2, 3)), torch.rand(1, 1, 4, 4)), tmp_path / "c.provnet")
    loaded = provnet.load(tmp_path / "c.provnet")
    assert isinstance(loaded, provnet.Circuit)
    assert loaded.plan(composite).rows[0].rule.startswith("ZPlus")


def test_opaque_takes_classes():
    class Soft(nn.Softmax):
        pass

    x = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    model = nn.Sequential(nn.Softmax(1), Soft(1), nn.ReLU())
    circuit = provnet.trace(model, x, opaque={nn.Softmax: "identity", Soft: "jacobian"})
    assert [block.kind for block in circuit.session.data.blocks] == ["elementwise", "affine", "elementwise"]
    circuit = provnet.trace(model, x, opaque={"1": "identity", Soft: "jacobian", nn.Softmax: "identity"})
    assert [block.kind for block in circuit.session.data.blocks] == ["elementwise"] * 3
    assert len(provnet.trace(nn.Sequential(nn.Softmax(1)), x, opaque=[nn.Softmax]).session.data.blocks) == 1
    with pytest.raises(UnknownNameError, match="the class Conv2d"):
        provnet.trace(model, x, opaque={nn.Conv2d: "identity"})
