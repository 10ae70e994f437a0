"""Whole executions: names, fusion, what is kept."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from provnet.capture.record import record
from provnet.errors import OptionError, UnknownNameError
from provnet.rules.build import build
from tests.rules.one_op import agrees


def convolutional() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(3, 4, 3, padding=1, bias=False, groups=1),
        nn.BatchNorm2d(4, affine=False),
        nn.ReLU(),
        nn.AvgPool2d(2, ceil_mode=True),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(16, 5),
        nn.BatchNorm1d(5),
    )
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_()
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    return model.eval().requires_grad_(False)


class Reused(nn.Module):
    """Calls one layer twice, and returns a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.pair = nn.Linear(4, 4), Pair()

    def forward(self, x):
        h = F.relu(self.fc(x))
        return self.pair(self.fc(h) + h)


class Pair(nn.Module):
    def forward(self, x):
        return x[:, :2] * 2, x - 1


@pytest.mark.parametrize("how", ["fused", "kept"])
def test_a_network_block_by_block(how):
    circuit = build(record(convolutional(), torch.rand(2, 1, 7, 7)), how)
    agrees(circuit)
    linear = [block.path for block in circuit.blocks if block.role == "linear"]
    assert linear == ["0", "4", "10"]
    assert [block.path for block in circuit.blocks if block.role == "scale"] == (
        [] if how == "fused" else ["1", "5", "11"]
    )
    assert [block.op for block in circuit.blocks if block.role == "pooling"] == [
        "aten.max_pool2d_with_indices",
        "aten.avg_pool2d",
    ]


def test_a_fused_map_has_no_name_of_its_own():
    circuit = build(record(convolutional(), torch.rand(2, 1, 7, 7)))
    for name in ("0", "1:in"):
        with pytest.raises(UnknownNameError, match=r"fused with the batch norm '1'.*batch_norm='kept'"):
            circuit.find(name)
    block = circuit.blocks[0]
    assert circuit.activations[block.output].name == "1"
    assert block.module == "Conv2d+BatchNorm2d"
    assert set(block.parameters) == {"0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"}
    assert {"0.weight", "1.running_var", "5.running_mean"} <= {kept.name for kept in circuit.kept}


def test_a_map_whose_output_is_used_twice_is_not_fused():
    conv, norm = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2).eval()

    def model(x):
        h = conv(x)
        return norm(h) + h

    circuit = build(record(model, torch.rand(2, 1, 5, 5)))
    assert [block.role for block in circuit.blocks] == ["linear", "scale", "sum"]
    both = build(record(lambda x: (h := conv(x), norm(h)), torch.rand(2, 1, 5, 5)))
    assert [block.role for block in both.blocks] == ["linear", "scale"]


def test_a_norm_over_another_axis_than_the_features_is_not_fused():
    fc, norm = nn.Linear(4, 6), nn.BatchNorm1d(5).eval()
    norm.register_buffer("running_var", torch.rand(5) + 0.5)
    weight = torch.randn(4, 5).expand(2, 4, 5)
    for model in (lambda x: norm(fc(x)), lambda x: norm(torch.bmm(x, weight))):
        circuit = build(record(model, torch.rand(2, 5, 4)))
        agrees(circuit)
        assert [block.role for block in circuit.blocks if block.has_coefficients] == ["linear", "scale"]


def test_names_of_calls_tuples_and_inputs():
    circuit = build(record(Reused(), torch.randn(3, 4)))
    agrees(circuit)
    names = circuit.names
    assert circuit.activations[names["input"]].names == ("input",)
    assert names["fc#0:in"] == names["input"]
    assert names["fc#1:in"] == names["relu_1"]
    assert names["pair[0]"] == names["output[0]"]
    assert names["pair[1]"] == names["output[1]"] == names["pair/sub_1"]
    assert names["pair:in"] == names["add_1"]
    assert circuit.outputs == (names["output[0]"], names["output[1]"])
    with pytest.raises(UnknownNameError, match="fc#0, fc#1"):
        circuit.find("fc")
    assert [block.path for block in circuit.blocks if block.role == "linear"] == ["fc#0", "fc#1"]


def test_a_leaf_of_several_ops_gives_its_path_to_the_one_with_coefficients():
    model = nn.Sequential(nn.Linear(4, 3))
    circuit = build(record(model, torch.randn(2, 5, 4)))
    assert [block.path for block in circuit.blocks if block.has_coefficients] == ["0"]
    assert circuit.activations[circuit.outputs[0]].name == "0"

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.randn(4, 4))

        def forward(self, x):
            return (x @ self.w).relu() @ self.w

    paths = [block.path for block in build(record(nn.Sequential(Twice()), torch.randn(2, 4))).blocks]
    assert len(set(paths)) == 3
    assert all(path.startswith("0/") for path in paths)


def test_blocks_stand_behind_what_feeds_them_and_paths_are_unique():
    circuit = build(record(convolutional(), torch.rand(2, 1, 7, 7)))
    made = set(circuit.sources)
    for block in circuit.blocks:
        assert made.issuperset(block.inputs)
        made.add(block.output)
    paths = [block.path for block in circuit.blocks]
    assert len(set(paths)) == len(paths)
    assert all(circuit.names[name] == i for i, a in circuit.activations.items() for name in a.names)


def test_what_is_kept_shows_a_later_change():
    layer = nn.Linear(4, 3)
    circuit = build(record(nn.Sequential(layer), torch.randn(2, 4)))
    assert {kept.name for kept in circuit.kept} == {"0.weight", "0.bias"}
    assert all(kept.handle._version == kept.version for kept in circuit.kept)
    with torch.no_grad():
        layer.weight += 1
    assert [kept.name for kept in circuit.kept if kept.handle._version != kept.version] == ["0.weight"]


def test_an_unknown_way_with_batch_norm_is_refused():
    with pytest.raises(OptionError, match="'fused' or 'kept'"):
        build(record(nn.Linear(2, 2), torch.rand(1, 2)), "folded")  # pyright: ignore[reportArgumentType]


def test_building_leaves_the_model_as_it_was():
    model = convolutional()
    before = {name: (tensor.clone(), tensor._version) for name, tensor in model.state_dict().items()}
    build(record(model, torch.rand(2, 1, 7, 7)))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name][0])
        assert tensor._version == before[name][1]


class Ends(nn.Module):
    """Layers that go by the names of the ends."""

    def __init__(self) -> None:
        super().__init__()
        self.input, self.output = nn.Linear(6, 4), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output(self.input(x).relu())


def test_a_module_called_input_keeps_its_name():
    """Else `r["input"]` would give the source's relevance for the module's, and say nothing."""
    circuit = build(record(Ends().eval(), torch.randn(2, 6)))
    shapes = {
        name: circuit.activations[circuit.find(name)].shape for name in ("input", "input:source", "input:in", "output")
    }
    assert shapes == {"input": (4,), "input:source": (6,), "input:in": (6,), "output": (3,)}
    assert circuit.activations[circuit.sources[0]].name == "input:source"
