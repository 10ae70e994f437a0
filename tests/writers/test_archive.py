"""The file of a circuit: bit by bit what was saved, and nothing but a clear error for anything else."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from provnet.circuit import windowed, wiring
from provnet.circuit.blocks import Activation, Block, BlockCircuit, Kept, Operand
from provnet.circuit.weights import Ones, Stored
from provnet.errors import FileFormatError, OptionError, OutputError, ProvnetError, UnsupportedOperationError
from provnet.writers.archive import load_archive, save_archive
from provnet.writers.codec import CLASSES, Decoder, Encoder

WEIGHT = torch.arange(24, dtype=torch.float32).reshape(2, 3, 2, 2).sqrt()
TIED = torch.nn.Parameter(torch.linspace(-1, 1, 6, dtype=torch.float64))


def fed(x: int, wires: wiring.Wiring, weight: torch.Tensor | None = None) -> tuple[Operand, ...]:
    return (Operand(x, wires, Ones() if weight is None else Stored(weight)),)


def stored(block: Block) -> torch.Tensor:
    assert isinstance(block.weight, Stored)
    return block.weight.values


def circuit() -> BlockCircuit:
    """One block of each kind; several dtypes, layouts, a tied parameter, views of one storage, indices."""
    random = torch.Generator().manual_seed(1)
    base = torch.randn(4, 6, generator=random)
    image = torch.randn(2, 3, 4, 4, generator=random).bfloat16().to(memory_format=torch.channels_last)
    pooled = torch.full((2, 3, 2, 2), float("-inf"), dtype=torch.float16)
    activations = {
        5: Activation(5, ("image", "input"), (3, 4, 4), image),
        6: Activation(6, ("conv",), (2, 3, 3), torch.randn(2, 2, 3, 3, generator=random)),
        7: Activation(7, ("pool",), (2, 2, 2), torch.randn(2, 2, 2, 2, generator=random).transpose(2, 3)),
        8: Activation(8, ("some", "flat"), (3,), base[:2, ::2]),
        9: Activation(9, ("fc é",), (2,), base[2:, 1:3].T, axis=1),
        10: Activation(10, ("low",), (3, 2, 2), pooled),
        11: Activation(11, ("tied",), (2,), torch.randn(2, 2, generator=random)),
    }
    geometry = {"kernel": (2, 2), "stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}
    conv = windowed.convolution(3, 2, 1, (4, 4), (3, 3), **geometry)
    pool = windowed.window(2, (3, 3), (2, 2), **geometry)
    gather = wiring.Gather(8, 3, index=np.array([1, -1, 7]))
    tensor_gather = wiring.Gather(2, 12, index=torch.arange(12) % 2)
    blocks = (
        Block("conv", "aten.convolution", "Conv2d", "affine", "linear", fed(5, conv, WEIGHT), 6, WEIGHT[:, 0, 0, 0]),
        Block("pool", "aten.max_pool2d", "MaxPool2d", "selection", "pooling", fed(6, pool), 7),
        Block("flat", "aten.index", "", "index", "none", fed(7, gather), 8),
        Block("fc", "aten.addmm", "Linear", "affine", "linear", fed(8, wiring.dense(1, 3, 2), TIED), 9, TIED[:2]),
        Block("again", "aten.index", "", "index", "none", fed(9, tensor_gather), 10, parameters=("fc.weight",)),
        Block("tied", "aten.addmm", "", "affine", "linear", fed(8, wiring.dense(1, 3, 2), TIED), 11),
    )
    names = {"image": 5, "conv": 6, "pool": 7, "some": 8, "fc é": 9, "low": 10}
    absent = {"bn": 'fused: use batch_norm="kept"'}
    return BlockCircuit("Net", 2, activations, blocks, (5,), (9, 10), names, absent, (Kept("w", WEIGHT, 0),))


def assert_same(a: object, b: object) -> None:
    """Compare two values of dataclasses, containers and tensors, tensors by bits, dtypes and strides."""
    assert type(a) is type(b) or isinstance(a, torch.Tensor)
    if isinstance(a, torch.Tensor):
        assert isinstance(b, torch.Tensor)
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert torch.equal(a.detach().contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))
    elif isinstance(a, np.ndarray):
        assert isinstance(b, np.ndarray)
        assert a.dtype == b.dtype
        assert np.array_equal(a, b)
    elif type(a).__name__ in CLASSES:
        for field in vars(a):
            if field != "kept":
                assert_same(getattr(a, field), getattr(b, field))
    elif isinstance(a, dict):
        assert isinstance(b, dict)
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, tuple):
        assert isinstance(b, tuple)
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b


@pytest.mark.guarantee("save and load give back a circuit to the bit")
def test_a_circuit_comes_back_bit_by_bit(tmp_path):
    found = load_archive(save_archive(circuit(), tmp_path / "net.pnet"))
    assert isinstance(found, BlockCircuit)
    assert_same(circuit(), found)
    assert found.kept == ()
    assert found.activations[5].handle.is_contiguous(memory_format=torch.channels_last)
    assert list(tmp_path.iterdir()) == [tmp_path / "net.pnet"]


def test_a_field_is_read_by_the_name_that_it_had_in_earlier_files():
    encoder = Encoder()
    written = encoder.encode(Activation(0, ("x",), (2,), torch.zeros(1, 2), padding=np.array([True, False])))
    written["fields"]["void"] = written["fields"].pop("padding")
    assert Decoder(encoder.tensors).decode(written).padding.tolist() == [True, False]


def test_a_loaded_circuit_owns_its_tensors_and_the_model_is_unchanged(tmp_path):
    saved = circuit()
    before = [saved.activations[i].handle.clone() for i in saved.activations]
    found = load_archive(save_archive(saved, tmp_path / "net"))
    assert isinstance(found, BlockCircuit)
    weight = stored(found.blocks[0])
    assert not weight.requires_grad
    weight.zero_()
    assert WEIGHT.abs().sum() > 0
    assert TIED.requires_grad
    assert all(torch.equal(b, saved.activations[i].handle) for b, i in zip(before, saved.activations, strict=True))


def test_tied_tensors_are_written_once(tmp_path):
    found = load_archive(save_archive(circuit(), tmp_path / "net"))
    assert isinstance(found, BlockCircuit)
    assert stored(found.blocks[3]) is stored(found.blocks[5])
    big = torch.zeros(1 << 18)
    wires = wiring.dense(1, 512, 512)
    acts = {i: Activation(i, (str(i),), (512,), torch.zeros(1, 512)) for i in range(6)}
    blocks = tuple(Block("b", "op", "", "affine", "linear", fed(i, wires, big), i + 1) for i in range(5))
    save_archive(BlockCircuit("m", 1, acts, blocks, (0,), (5,), {}), tmp_path / "five")
    assert (tmp_path / "five").stat().st_size < 1.1 * big.nbytes


def test_equal_circuits_give_equal_files(tmp_path):
    saved = circuit()
    assert save_archive(saved, tmp_path / "a").read_bytes() == save_archive(saved, tmp_path / "b").read_bytes()


@pytest.mark.guarantee("files hold no pickle")
def test_there_is_no_pickle_in_it(tmp_path):
    path = save_archive(circuit(), tmp_path / "net")
    with zipfile.ZipFile(path) as file:
        assert sorted(file.namelist()) == ["manifest.json", "structure.json", "tensors.safetensors"]
        assert all(info.compress_type == zipfile.ZIP_STORED for info in file.infolist())
        manifest = json.loads(file.read("manifest.json"))
    assert (manifest["provnet"], manifest["format"]) == ("circuit", 1)
    assert set(manifest["sha256"]) == {"structure.json", "tensors.safetensors"}


# --- what is refused -------------------------------------------------------------------------------------------------


def tampered(path: Path, **changes: bytes) -> Path:
    """Write a copy in which members are replaced and the zip itself is sound."""
    target = path.with_name("tampered")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, changes.get(name.split(".")[0], old.read(name)))
    return target


def member(path: Path, name: str) -> bytes:
    with zipfile.ZipFile(path) as file:
        return file.read(name)


@pytest.mark.guarantee("a truncated file is refused")
def test_every_truncation_is_refused(tmp_path):
    path = save_archive(circuit(), tmp_path / "net")
    data = path.read_bytes()
    for length in sorted({*range(0, len(data), 97), len(data) - 1, len(data) - 22}):
        path.write_bytes(data[:length])
        with pytest.raises(FileFormatError, match="cannot be loaded"):
            load_archive(path)


@pytest.mark.guarantee("a tampered file is refused")
def test_every_flipped_byte_is_refused_or_harmless(tmp_path):
    """A byte of no meaning (a date in the zip) may change; then the circuit that comes back is the one saved."""
    path = save_archive(circuit(), tmp_path / "net")
    data, whole = path.read_bytes(), load_archive(path)
    ends = len(data) - 400  # the directory, where zipfile raises the most kinds of error
    refused = 0
    places = [*range(0, ends, 61), *range(ends, len(data), 2)]
    for place in places:
        for flip in (0x01, 0xFF):
            path.write_bytes(data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :])
            try:
                assert_same(load_archive(path), whole)
            except FileFormatError:
                refused += 1
    assert refused > len(places)


def test_a_changed_part_is_told_by_its_checksum(tmp_path):
    path = save_archive(circuit(), tmp_path / "net")
    structure = member(path, "structure.json").replace(b'"Linear"', b'"Lineal"')
    with pytest.raises(FileFormatError, match=r"structure\.json was changed after saving"):
        load_archive(tampered(path, structure=structure))


@pytest.mark.guarantee("a newer file, another kind of file and a missing one are refused")
def test_newer_other_and_missing_files_are_refused(tmp_path):
    path = save_archive(circuit(), tmp_path / "net")
    manifest = json.loads(member(path, "manifest.json"))
    newer = json.dumps({**manifest, "format": 2, "library": "9.9"}).encode()
    with pytest.raises(FileFormatError, match=r"format 2, written by provnet 9\.9.*Update provnet"):
        load_archive(tampered(path, manifest=newer))
    other = json.dumps({**manifest, "provnet": "poem"}).encode()
    with pytest.raises(FileFormatError, match="it is no circuit"):
        load_archive(tampered(path, manifest=other))
    wrong = json.dumps({**manifest, "provnet": "gates"}).encode()
    with pytest.raises(FileFormatError, match="says that it holds gates, and holds a BlockCircuit"):
        load_archive(tampered(path, manifest=wrong))
    with pytest.raises(FileFormatError, match="there is no file"):
        load_archive(tmp_path / "none")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(FileFormatError, match="damaged or no provnet file"):
        load_archive(tmp_path / "text")
    with zipfile.ZipFile(tmp_path / "zip", "w") as file:
        file.writestr("a", "b")
    with pytest.raises(FileFormatError, match=r"part manifest\.json is missing"):
        load_archive(tmp_path / "zip")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b'"class":"Dense"', b'"class":"Popen"', "class 'Popen' is none that a file may hold"),
        (b'"rows":1', b'"rows":"1"', "Dense.rows has a value of the wrong kind"),
        (b'"rows":1', b'"rowz":1', "no field 'rowz'"),
        (b'"input":5,', b'"input":77,', "does not hold"),
        (b'"input":5,', b'"input":9,', "comes before what feeds it"),
        (b'"batch":2', b'"batch":3', "does not hold 3 examples"),
        (b'"kind":"affine"', b'"kind":"evil"', "Block.kind has a value of the wrong kind"),
        (b'{"tensor":"t0"', b'{"tensor":"t99"', "t99"),
    ],
)
def test_a_forged_structure_is_refused_even_with_a_right_checksum(tmp_path, old, new, reason):
    path = save_archive(circuit(), tmp_path / "net")
    assert old in member(path, "structure.json")
    structure = member(path, "structure.json").replace(old, new)
    manifest = json.loads(member(path, "manifest.json"))
    manifest["sha256"]["structure.json"] = hashlib.sha256(structure).hexdigest()
    forged = tampered(path, structure=structure, manifest=json.dumps(manifest).encode())
    with pytest.raises(FileFormatError, match=reason):
        load_archive(forged)


@pytest.mark.guarantee("a failed save leaves nothing behind")
def test_what_cannot_be_saved_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(OptionError, match="not int"):
        save_archive(3, tmp_path / "a")  # type: ignore[arg-type]
    saved = circuit()
    odd = Activation(5, ("image",), (3, 4, 4), object())
    with pytest.raises(UnsupportedOperationError, match="object cannot be written"):
        save_archive(BlockCircuit(**{**vars(saved), "activations": {**saved.activations, 5: odd}}), tmp_path / "a")
    sparse = Activation(5, ("image",), (3, 4, 4), torch.zeros(2, 3, 4, 4).to_sparse())
    with pytest.raises(UnsupportedOperationError, match="sparse"):
        save_archive(BlockCircuit(**{**vars(saved), "activations": {**saved.activations, 5: sparse}}), tmp_path / "a")
    unsound = BlockCircuit(**{**vars(saved), "outputs": (99,)})
    with pytest.raises(UnsupportedOperationError, match=r"refused when it is loaded.*does not hold"):
        save_archive(unsound, tmp_path / "a")
    with pytest.raises(OutputError, match="is a folder"):
        save_archive(saved, tmp_path)
    with pytest.raises(OutputError, match="missing"):
        save_archive(saved, tmp_path / "no" / "a")
    assert os.listdir(tmp_path) == []
    assert issubclass(FileFormatError, ProvnetError)
