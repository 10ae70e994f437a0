"""The file of a circuit of either size: JSON and safetensors in one zip, with checksums and a version. No pickle."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import zipfile
from pathlib import Path
from typing import Any

import safetensors.torch

from provnet.circuit.blocks import BlockCircuit
from provnet.circuit.gate_check import check
from provnet.circuit.gates import GateStore
from provnet.circuit.spec import check_circuit
from provnet.circuit.unit_functions import without_own_functions
from provnet.errors import CircuitError, FileFormatError, OptionError, OutputError, UnsupportedOperationError
from provnet.torch_backend.blocks.slopes import run_call
from provnet.writers.atomic import staged
from provnet.writers.base import StrPath
from provnet.writers.codec import Decoder, Encoder

FORMAT = 1
KINDS = {"circuit": BlockCircuit, "gates": GateStore}
MANIFEST, STRUCTURE, TENSORS = "manifest.json", "structure.json", "tensors.safetensors"
CHUNK = 1 << 20

try:
    VERSION = importlib.metadata.version("provnet")
except importlib.metadata.PackageNotFoundError:  # run from a source folder that is not installed
    VERSION = "unknown"


def save_archive(circuit: BlockCircuit | GateStore, path: StrPath) -> Path:
    """Write a circuit with all its tensors, bit by bit what `load_archive` gives back; tied tensors are written once.

    Raises `OutputError` if `path` cannot be written, `UnsupportedOperationError` for a handle that is no plain tensor
    and for a circuit that would be refused when it is loaded.
    Disk: the tensors twice while writing. Memory: a copy of those tensors that are views or lie on another device.
    """
    kind = next((name for name, cls in KINDS.items() if isinstance(circuit, cls)), None)
    if kind is None:
        raise OptionError(f"a circuit or gates were expected, not {type(circuit).__name__}.")
    encoder = Encoder()
    if isinstance(circuit, BlockCircuit):
        circuit = without_own_functions(circuit)
    structure = _dump(encoder.encode(circuit))
    if isinstance(circuit, BlockCircuit):
        _check_readable(circuit)
    with staged(path) as draft:
        tensors = draft.with_name(f"{draft.name}.tensors")
        try:
            safetensors.torch.save_file(encoder.tensors, tensors)
            with zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as file:
                members = {STRUCTURE: _add(file, STRUCTURE, structure), TENSORS: _add(file, TENSORS, tensors)}
                manifest = {"provnet": kind, "format": FORMAT, "library": VERSION, "sha256": members}
                _add(file, MANIFEST, _dump(manifest))
        except safetensors.SafetensorError as error:
            raise OutputError(f"the tensors of {path} cannot be written: {error}. Is the disk full?") from error
        finally:
            tensors.unlink(missing_ok=True)
    return Path(path)


def _check_readable(circuit: BlockCircuit) -> None:
    """Raise `UnsupportedOperationError` for a circuit that `load_archive` would refuse."""
    try:
        check_circuit(circuit)
    except CircuitError as error:
        raise UnsupportedOperationError(
            f"it would be refused when it is loaded, so it is not saved: {error}"
        ) from error


def load_archive(path: StrPath) -> BlockCircuit | GateStore:
    """Return the circuit that a file holds. It owns its tensors, on the CPU, and watches no model (`kept` is empty).

    Raises `FileFormatError` for a file that is missing, truncated, changed, of a newer version, or no circuit.
    Memory: twice the tensors while reading.
    """
    if not Path(path).is_file():
        raise FileFormatError(f"there is no file {path}: give one that provnet.save wrote.")
    try:
        return _load(path)
    except FileFormatError as error:
        raise FileFormatError(f"{path} cannot be loaded: {error}") from error
    except Exception as error:
        # What zipfile, json and safetensors raise on damaged files is an open list: OSError, BadZipFile, struct.error,
        # zlib.error, RecursionError, OverflowError, …; and whatever a wrong value makes a constructor raise.
        raise FileFormatError(
            f"{path} cannot be loaded, for it is damaged or no provnet file ({type(error).__name__}: {error}). "
            f"Save the circuit again."
        ) from error


def _load(path: StrPath) -> BlockCircuit | GateStore:
    with zipfile.ZipFile(path) as file:
        manifest = json.loads(_member(file, MANIFEST))
        kind = _kind(manifest)
        data = {}
        for name in (STRUCTURE, TENSORS):
            data[name] = _member(file, name)
            if hashlib.sha256(data[name]).hexdigest() != manifest["sha256"][name]:
                raise FileFormatError(f"its part {name} was changed after saving. Save the circuit again.")
    tensors = safetensors.torch.load(data.pop(TENSORS))
    found = Decoder(tensors).decode(json.loads(data[STRUCTURE]))
    if not isinstance(found, KINDS[kind]):
        raise FileFormatError(f"it says that it holds {kind}, and holds a {type(found).__name__}. Save it again.")
    if isinstance(found, GateStore):
        return check(found)
    check_circuit(found)
    check_functions(found)
    return found


def _kind(manifest: Any) -> str:
    """Return what a manifest says the file holds. Raises `FileFormatError` for another kind or a newer version."""
    if not isinstance(manifest, dict) or manifest.get("provnet") not in KINDS:
        raise FileFormatError("it is no circuit. Give a file that provnet.save wrote.")
    version = manifest.get("format")
    if type(version) is not int or not 1 <= version <= FORMAT:
        raise FileFormatError(
            f"it has format {version!r}, written by provnet {manifest.get('library')}; this is {VERSION} and reads "
            f"formats up to {FORMAT}. Update provnet."
        )
    return manifest["provnet"]


def check_functions(circuit: BlockCircuit) -> None:
    """Raise `FileFormatError` if a function of unit edges does not take its arguments or changes the shape.

    The calls are those of the closed list by then. They are tried on shapes alone: nothing is computed.
    """
    for block in circuit.blocks:
        if block.call is None:
            continue
        try:
            shape = run_call(block.call, circuit.activations[block.output].handle.to("meta")).shape
        except NotImplementedError:  # a function that torch cannot try on shapes
            continue
        except Exception as error:  # torch's own errors for wrong arguments are an open list
            raise FileFormatError(f"the function of {block.path!r} cannot be run ({error}). Save it again.") from error
        if shape != circuit.activations[block.output].handle.shape:
            raise FileFormatError(f"the function of {block.path!r} changes the shape. Save it again.")


def _dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _add(file: zipfile.ZipFile, name: str, content: bytes | Path) -> str:
    """Add a member with a fixed date, so that equal circuits give equal files, and return its SHA-256."""
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o644 << 16
    info.file_size = len(content) if isinstance(content, bytes) else content.stat().st_size
    digest = hashlib.sha256()
    with file.open(info, "w") as member:
        if isinstance(content, bytes):
            digest.update(content)
            member.write(content)
            return digest.hexdigest()
        with content.open("rb") as source:
            while chunk := source.read(CHUNK):
                digest.update(chunk)
                member.write(chunk)
    return digest.hexdigest()


def _member(file: zipfile.ZipFile, name: str) -> bytes:
    if name not in file.namelist():
        raise FileFormatError(f"its part {name} is missing, so it is no provnet file or not whole. Save it again.")
    # Stored members cannot grow on reading: a small file that unpacks to terabytes is refused.
    if file.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise FileFormatError(f"its part {name} is compressed, which provnet never does. Save it again.")
    return file.read(name)
