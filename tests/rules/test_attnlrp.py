"""rules.AttnLRP() against LXT's efficient AttnLRP, which modifies gradients: models of transformers, random weights.

LXT replaces classes of the whole process; its functions are put in place here one by one, for one backward pass.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import provnet
from provnet import rules

os.environ.setdefault("HF_HUB_OFFLINE", "1")
transformers = pytest.importorskip("transformers", reason="the package transformers is not installed")
TOLERANCE = 1e-7

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}


@pytest.fixture(scope="module")
def lxt() -> Iterator[ModuleType]:
    """LXT's functions, without its table of models, which wants torchvision and a fixed release of transformers."""
    found = importlib.util.find_spec("lxt")
    if found is None or not found.submodule_search_locations:
        pytest.skip("the package lxt is not installed")
    before = set(sys.modules)
    bare = ModuleType("lxt.efficient")
    bare.__path__ = [os.path.join(found.submodule_search_locations[0], "efficient")]
    sys.modules["lxt.efficient"] = bare
    try:
        yield importlib.import_module("lxt.efficient.patches")
    finally:
        for name in set(sys.modules) - before:
            if name.startswith("lxt"):
                del sys.modules[name]


def modified(lxt: ModuleType, monkeypatch: pytest.MonkeyPatch, model: nn.Module) -> None:
    """Give the classes of a model LXT's gradients: norms, activations, gated units, attention."""

    def rms_norm(self: Any, x: Tensor) -> Tensor:
        # LXT's own goes through single precision; the gradient is stopped at the same place.
        size = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
        return self.weight * (x * lxt.stop_gradient(size))

    def gpt2_mlp(self: Any, x: Tensor) -> Tensor:
        return self.c_proj(lxt.identity_rule_implicit(self.act, self.c_fc(x)))

    def activation(plain: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda self, x: lxt.identity_rule_implicit(lambda y: plain(self, y), x)

    forwards: dict[str, Callable[..., Any]] = {
        "LayerNorm": lxt.layer_norm_forward,
        "LlamaRMSNorm": rms_norm,
        "LlamaMLP": lxt.gated_mlp_forward,
        "GPT2MLP": gpt2_mlp,
    }
    for cls in {type(module) for module in model.modules()}:
        if cls.__name__ in forwards:
            monkeypatch.setattr(cls, "forward", forwards[cls.__name__])
        elif cls.__name__ == "GELUActivation" and not hasattr(model, "transformer"):
            monkeypatch.setattr(cls, "forward", activation(cls.forward))
    functions = importlib.import_module("transformers.modeling_utils").ALL_ATTENTION_FUNCTIONS
    monkeypatch.setitem(functions._global_mapping, "sdpa", lxt.wrap_attention_forward(functions["sdpa"]))


class Embedded(nn.Module):
    """A language model that is given embeddings: the logits of the last token."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(inputs_embeds=x, use_cache=False).logits[:, -1]


class Pixels(nn.Module):
    """A classifier of images."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(pixel_values=x).logits


def gpt2() -> tuple[nn.Module, Tensor]:
    config = transformers.GPT2Config(
        vocab_size=31,
        n_embd=16,
        n_layer=2,
        n_head=4,
        n_positions=16,
        activation_function="gelu_pytorch_tanh",
        bos_token_id=1,
        eos_token_id=2,
    )
    return Embedded(transformers.GPT2LMHeadModel(config)), torch.randn(2, 5, 16)


def llama() -> tuple[nn.Module, Tensor]:
    config = transformers.LlamaConfig(**SMALL, vocab_size=31, num_key_value_heads=2, max_position_embeddings=16)
    return Embedded(transformers.LlamaForCausalLM(config)), torch.randn(2, 5, 16)


def vit() -> tuple[nn.Module, Tensor]:
    config = transformers.ViTConfig(**SMALL, image_size=8, patch_size=4, num_channels=3)
    return Pixels(transformers.ViTForImageClassification(config)), torch.randn(2, 3, 8, 8)


@pytest.mark.guarantee("GPT-2, Llama and a ViT have under rules.AttnLRP() the relevance that LXT gives, to 1e-7")
@pytest.mark.parametrize("make", [gpt2, llama, vit])
def test_attnlrp_is_lxts(make: Callable[[], tuple[nn.Module, Tensor]], lxt: ModuleType) -> None:
    """From the logit, in double precision; LXT: gradient × input of a model whose derivatives are changed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x = make()
    model, x = model.double().eval(), x.double()
    with torch.no_grad():
        for parameter in model.parameters():  # so that no bias is 0 and no gain is 1
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)).double() / 5)
    circuit = provnet.trace(model, x)
    found = circuit.evaluate("real", 1, rules.AttnLRP(), start="logit").inputs
    leaf = x.clone().requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        modified(lxt, patch, model)
        (slope,) = torch.autograd.grad(model(leaf)[:, 1].sum(), leaf)
    wanted = x * slope
    assert float((found - wanted).abs().max() / wanted.abs().max()) < TOLERANCE
    half = circuit.evaluate("real", 1, "epsilon", start="logit").inputs
    assert float((half - wanted).abs().max() / wanted.abs().max()) > 1e-3  # the softmax's rule is in it
