"""Arguments and options that several commands have, each in one place."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    str,
    typer.Argument(help="package.module:callable (a torch module, or a function that returns one), or a saved circuit"),
]
Input = Annotated[
    Path | None, typer.Argument(help="input: .npy, .npz, .safetensors or an image; none for a saved circuit")
]
More = Annotated[
    list[str],
    typer.Option("--input", help="one more input: file, argument=file, or argument.entry=file of a dict; repeatable"),
]
Sources = Annotated[str | None, typer.Option(help="which inputs are explained, with commas; all floating ones")]
Key = Annotated[str | None, typer.Option(help="which tensor of a .npz or .safetensors file")]
Single = Annotated[bool, typer.Option("--single", help="the array is one example: add the axis of examples")]
Size = Annotated[int | None, typer.Option(help="image: shorter side resized to this, then the central square")]
Mean = Annotated[str | None, typer.Option(help="image: subtracted, one number or three with commas")]
Std = Annotated[str | None, typer.Option(help="image: divided by, one number or three with commas")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON, for programs")]
RuleName = Annotated[str, typer.Option("--rule", help="see: provnet list rules; with parameters as gamma:gamma=0.5")]
Theta = Annotated[str | None, typer.Option(help="threshold: a number, or path=number,… with globs")]
Keep = Annotated[int | None, typer.Option(help="only the k best paths, in Viterbi")]
Share = Annotated[float | None, typer.Option(help="only the heaviest paths that carry this share of the value")]
Dead = Annotated[bool, typer.Option("--dead/--no-dead", help="keep what this execution switched off")]
Classes = Annotated[Path | None, typer.Option(help="text file with the outputs' names, one a line")]
Force = Annotated[bool, typer.Option("--force", help="write over what exists")]
Target = Annotated[str, typer.Option(help="class, full index with commas, or 'predicted'")]
Batch = Annotated[int, typer.Option(help="which example, from 0")]
At = Annotated[
    list[str], typer.Option(help="neuron such as fc1[0] or conv1[0,2,2], or a whole tensor's path; may be repeated")
]
Limit = Annotated[int, typer.Option(help="the most gates that are made")]

# --- datasets ---------------------------------------------------------------------------------------------------------

ModelName = Annotated[
    str, typer.Argument(help="package.module:callable, a torch module or a function that returns one")
]
Examples = Annotated[Path, typer.Argument(help="examples on axis 0: .npy, .safetensors, or IDX as MNIST has it")]
Labels = Annotated[Path | None, typer.Option(help="their classes, one whole number each: .npy, .safetensors or IDX")]
Semirings = Annotated[list[str], typer.Option(help="see: provnet list semirings; may be repeated")]
Shape = Annotated[str | None, typer.Option(help="each example is reshaped to this, such as 1,28,28 or 784")]
Divide = Annotated[float | None, typer.Option(help="examples are divided by this, such as 255 for pixels")]
First = Annotated[int, typer.Option(help="the first example, from 0")]
Count = Annotated[int | None, typer.Option(help="how many examples; all from the first on")]
Batches = Annotated[
    int | None, typer.Option("--batch-size", help="examples at a time; by default as many as 256 MiB hold, up to 2048")
]
FixedBatches = Annotated[int, typer.Option("--batch-size", help="examples at a time")]
Checkpoint = Annotated[Path | None, typer.Option(help="file that is written after each batch; the same call goes on")]
Seed = Annotated[int, typer.Option(help="of ties")]
