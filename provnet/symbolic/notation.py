"""Names of variables in plain text and in LaTeX."""

from __future__ import annotations

import re

from provnet.circuit.gates import Neuron

_RESERVED = re.compile(r"[⊕⊗+*()=`\n\r]|^\s|\s$|^$|^[01]$|^let\s")
_ESCAPES = {"\\": r"\\", "`": r"\`", "\n": r"\n", "\r": r"\r"}
_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_LATEX = {
    "\\": r"\backslash ",
    "_": r"\_",
    "#": r"\#",
    "%": r"\%",
    "&": r"\&",
    "$": r"\$",
    "{": r"\{",
    "}": r"\}",
    "^": r"{\wedge}",
    "~": r"{\sim}",
    "<-": r"\gets ",
    "->": r"\to ",
    "<": r"{<}",
    ">": r"{>}",
    "-": r"\text{-}",
    " ": r"\ ",
    # Two line breaks in a row would end the formula, and one would vanish.
    "\n": r"{\hookleftarrow}",
    "\r": r"{\dashv}",
    "\t": r"{\mapsto}",
}
_LATEX_PATTERN = re.compile("|".join(map(re.escape, sorted(_LATEX, key=len, reverse=True))))


def quoted(name: str) -> str:
    """Return a variable's name as formulas print it: in backticks where it would read as something else."""
    if not _RESERVED.search(name):
        return name
    return "`" + "".join(_ESCAPES.get(c, c) for c in name) + "`"


def unquoted(text: str) -> str:
    """Return the name that `quoted` printed."""
    if not text.startswith("`"):
        return text
    plain = {escape[1]: character for character, escape in _ESCAPES.items()}
    return re.sub(r"\\(.)", lambda match: plain.get(match.group(1), match.group(1)), text[1:-1])


def superscript(number: int) -> str:
    """Return a number in raised Unicode digits."""
    return str(number).translate(_SUPERSCRIPTS)


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """Return a sort key by which x2 comes before x10."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name) if part)


def latex_text(text: str) -> str:
    r"""Return `text` for the inside of \mathrm{…}."""
    return _LATEX_PATTERN.sub(lambda match: _LATEX[match.group()], text)


def latex_neuron(neuron: Neuron) -> str:
    """Return a neuron as a subscript's content: its index, or its path where it has none."""
    return ",".join(map(str, neuron.index)) if neuron.index else rf"\mathrm{{{latex_text(neuron.path)}}}"


def latex_indexed(name: str) -> str:
    r"""Return a tensor's element `path[3]` as \mathrm{path}_{3}, and any other name as \mathrm{name}."""
    match = re.fullmatch(r"(.+?)\[([\d,]+)\]", name)
    path, index = (match.group(1), match.group(2)) if match else (name, "")
    return rf"\mathrm{{{latex_text(path)}}}" + (f"_{{{index}}}" if index else "")


def latex_variable(name: str) -> str:
    r"""Return a variable in LaTeX, told by the form of its name, so that two names never look the same.

    fc1[2<-0] is x^{\mathrm{fc1}}_{0 \to 2}, with b for the bias; a letter with a number w_{3}; others \mathrm{name}.
    """
    if match := re.fullmatch(r"(.+?)\[([\d,]*)<-(.*)\]", name):
        path, target, source = match.groups()
        if source == "bias":
            source = r"\mathrm{bias}"
        elif not re.fullmatch(r"[\d,]*", source):
            source = latex_indexed(source)
        return rf"x^{{\mathrm{{{latex_text(path)}}}}}_{{{source} \to {target}}}"
    if match := re.fullmatch(r"([wb]) (.+)\[([\d,]+)\]", name):
        return rf"{match.group(1)}^{{\mathrm{{{latex_text(match.group(2))}}}}}_{{{match.group(3)}}}"
    if match := re.fullmatch(r"([A-Za-z])(\d*)", name):
        return f"{match.group(1)}_{{{match.group(2)}}}" if match.group(2) else match.group(1)
    if match := re.fullmatch(r"(.+)\[([\d,]+)\]", name):
        return rf"x^{{\mathrm{{{latex_text(match.group(1))}}}}}_{{{match.group(2)}}}"
    return rf"\mathrm{{{latex_text(name)}}}"
