"""Transformers at size against their own forward pass and gradient. `python -m tests.benchmarks.bench_language
[bert|gpt2|vit|decoder] [time|memory] [--layers N]`

bert     12 layers of width 768, 128 tokens      gpt2     the same, causal, with a head of 50,257 words
vit      ViT-base at 224 x 224                   decoder  24 layers of width 896, grouped queries, gated units
time     ratios of medians, all ways in turn:    tracing / forward (target: at most 1.15, and 60 µs a node); real with
         rules.AttnLRP() / (forward + gradient) (2), and against LXT's efficient path (1.3); Viterbi, Boolean and
         counting / forward (10)
memory   peak above the model's own, each way in a process of its own: tracing lean and real / autograd (1.3)

Random weights by transformers' configurations, batch 1, single precision. JSON lines on stdout.
"""

from __future__ import annotations

import gc
import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import provnet
from provnet import rules
from provnet.semirings.counting import Counting
from tests.benchmarks.clock import Peak, interleaved, report

os.environ.setdefault("HF_HUB_OFFLINE", "1")
transformers: Any = importlib.import_module("transformers")

ROUNDS = 5
TOKENS = 128
WIDE = {"hidden_size": 896, "intermediate_size": 4864, "num_attention_heads": 14, "num_key_value_heads": 2}
ASKED: dict[str, Any] = {"viterbi": "viterbi", "boolean": "boolean", "counting": Counting("float64")}


class Explained(nn.Module):
    """A model from its embeddings, or its pixels, to the scores that are explained: of the last token, or of the
    image."""

    def __init__(self, model: nn.Module, given: str, shown: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.model, self.given, self.shown = model, given, shown

    def forward(self, x: Tensor) -> Tensor:
        return self.shown(self.model(**{self.given: x}))


def made(name: str, layers: int | None) -> tuple[nn.Module, Tensor]:
    """Return a model in evaluation, of its own or a given number of layers, and its input."""
    torch.manual_seed(0)
    count = layers or (24 if name == "decoder" else 12)
    if name == "bert":
        model = transformers.BertModel(transformers.BertConfig(num_hidden_layers=count), add_pooling_layer=False)
        found = Explained(model, "inputs_embeds", lambda out: out.last_hidden_state[:, 0])
        x = torch.randn(1, TOKENS, 768)
    elif name == "gpt2":
        config = transformers.GPT2Config(n_layer=count, use_cache=False)
        found = Explained(transformers.GPT2LMHeadModel(config), "inputs_embeds", lambda out: out.logits[:, -1])
        x = torch.randn(1, TOKENS, 768)
    elif name == "vit":
        config = transformers.ViTConfig(num_hidden_layers=count, num_labels=1000)
        found = Explained(transformers.ViTForImageClassification(config), "pixel_values", lambda out: out.logits)
        x = torch.randn(1, 3, 224, 224)
    elif name == "decoder":
        config = transformers.Qwen2Config(num_hidden_layers=count, vocab_size=32000, use_cache=False, **WIDE)
        found = Explained(transformers.Qwen2ForCausalLM(config), "inputs_embeds", lambda out: out.logits[:, -1])
        x = torch.randn(1, TOKENS, WIDE["hidden_size"])
    else:
        raise SystemExit(f"{name!r} is none of bert, gpt2, vit, decoder")
    return found.eval().requires_grad_(False), x


@torch.no_grad()
def forward(model: nn.Module, x: Tensor) -> Tensor:
    return model(x)


def gradient(model: nn.Module, x: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    return x * torch.autograd.grad(model(leaf)[:, 3].sum(), leaf)[0]


def by_lxt(model: nn.Module, x: Tensor) -> Tensor | None:
    """Return LXT's efficient AttnLRP, None where it is not installed. Its functions stand in place for this call."""
    theirs = importlib.import_module("tests.rules.test_attnlrp")
    functions = theirs.lxt.__wrapped__()
    try:
        with pytest.MonkeyPatch.context() as patch:
            theirs.modified(next(functions), patch, model)
            return gradient(model, x)
    finally:
        functions.close()


def time(name: str, layers: int | None) -> None:
    model, x = made(name, layers)
    circuit = provnet.trace(model, x)
    ways: dict[str, Callable[[], Any]] = {
        "forward": partial(forward, model, x),
        "gradient": partial(gradient, model, x),
        "trace": partial(provnet.trace, model, x),
        "real": partial(circuit.evaluate, "real", 3, rules.AttnLRP()),
    }
    ways |= {way: partial(circuit.evaluate, given, 3) for way, given in ASKED.items()}
    try:
        by_lxt(model, x)
        ways["lxt"] = partial(by_lxt, model, x)
    except (Exception, pytest.skip.Exception) as error:  # it knows a fixed list of models
        print(f"LXT does not serve {name}: {error}", file=sys.stderr)
    taken = interleaved(ways, ROUNDS)
    nodes = len(circuit.session.data.blocks)
    ratios = {way: taken[way] / taken["forward"] for way in ("trace", *ASKED)}
    report(
        f"{name}, times forward",
        layers=layers,
        nodes=nodes,
        forward_ms=taken["forward"] * 1e3,
        us_a_node=(taken["trace"] - taken["forward"]) / nodes * 1e6,
        **ratios,
    )
    against = {"lxt": taken["real"] / taken["lxt"]} if "lxt" in taken else {}
    report(f"{name}, real with AttnLRP", times_gradient=taken["real"] / taken["gradient"], **against)
    reference = {
        way: sum(step.route == "reference" for step in circuit.evaluate(given, 3).plan) for way, given in ASKED.items()
    }
    report(f"{name}, blocks by the reference route", **reference)


def memory(name: str, layers: int | None) -> None:
    """Each way in a process of its own, for what one frees the next may find."""
    sizes = {}
    for way in ("autograd", "lean"):
        given = [sys.executable, "-m", "tests.benchmarks.bench_language", name, f"peak-of-{way}"]
        given += [] if layers is None else ["--layers", str(layers)]
        sizes[way] = float(subprocess.run(given, check=True, capture_output=True, text=True).stdout)
    report(
        f"{name}, memory",
        **{f"{way}_mb": size / 1e6 for way, size in sizes.items()},
        ratio=sizes["lean"] / sizes["autograd"],
    )


def peak(name: str, layers: int | None, way: str) -> None:
    model, x = made(name, layers)
    small = x[:, : max(x.shape[1] // 8, 1)] if name != "vit" else x
    forward(model, small)  # buffers of libraries are no part of the comparison
    gc.collect()
    with Peak() as found:
        if way == "autograd":
            gradient(model, x)
        else:
            provnet.trace(model, x, lean=True).evaluate("real", 3, rules.AttnLRP())
    print(found.bytes)


def main(arguments: list[str]) -> None:
    layers = None
    if "--layers" in arguments:
        at = arguments.index("--layers")
        layers, arguments = int(arguments[at + 1]), arguments[:at] + arguments[at + 2 :]
    for way in ("autograd", "lean"):
        if f"peak-of-{way}" in arguments:
            return peak(arguments[0], layers, way)
    parts = [part for part in ("time", "memory") if part in arguments] or ["time", "memory"]
    for name in [name for name in arguments if name not in parts] or ["bert", "gpt2", "vit", "decoder"]:
        if "time" in parts:
            time(name, layers)
        if "memory" in parts:
            memory(name, layers)
    return None


if __name__ == "__main__":
    main(sys.argv[1:])
