"""Architectures of the package `transformers`, tiny and with random weights: nothing is downloaded."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tests.zoo.entries import ZOO, Entry, need, tokens

FUSED = 1e-4
EAGER = ("eager",)
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
VISION = {**SMALL, "image_size": 16, "patch_size": 8, "num_channels": 3}
TEXT = {**SMALL, "vocab_size": 31, "max_position_embeddings": 24}
DECODER = {**TEXT, "num_key_value_heads": 1, "head_dim": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
EXPERTS = {"num_local_experts": 3, "num_experts_per_tok": 2}
"""The parts of configurations that architectures share."""


def transformers() -> Any:
    """Return the package, which is not to look for anything on the net."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    package = need("transformers")
    package.logging.set_verbosity_error()
    return package


def ids(length: int = 5) -> dict[str, Any]:
    return {"input_ids": tokens(2, length, 31)}


def padded(length: int = 5) -> dict[str, Any]:
    """Tokens with a mask that differs from example to example."""
    mask = torch.ones(2, length, dtype=torch.long)
    mask[1, -2:] = 0
    return {**ids(length), "attention_mask": mask}


def pixels() -> dict[str, Any]:
    return {"pixel_values": torch.randn(2, 3, 16, 16)}


class ZeroShot(nn.Module):
    """A model of images and texts as a classifier of images: the texts are its classes, the same for every example.

    Given both, every image would meet the texts of all other examples.
    """

    classes: Tensor

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("classes", tokens(3, 5, 31))

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.model(input_ids=self.classes, pixel_values=pixel_values).logits_per_image


def add(
    name: str,
    model: str,
    config: str,
    settings: dict[str, Any],
    inputs: Callable[[], dict[str, Any]],
    sources: tuple[str, ...] = ("input_ids",),
    kinds: tuple[str, ...] = ("sdpa", "eager"),
    wrapped: Callable[[Any], Any] = lambda model: model,
) -> None:
    """File a configuration twice: with torch's fused attention, and written out ("eager"); `wrapped` in a module."""
    for kind in kinds:

        def make(kind: str = kind) -> tuple[Any, ...]:
            package = transformers()
            made = getattr(package, config)(**settings)
            made._attn_implementation = kind
            made._experts_implementation = "eager" if kind == "eager" else None
            return wrapped(getattr(package, model)(made)), (), inputs()

        full = f"{name}_{kind}"
        ZOO[full] = Entry(full, make, FUSED, sources, frozenset({"transformers"}))


add("bert", "BertForSequenceClassification", "BertConfig", TEXT, padded)
add("roberta", "RobertaModel", "RobertaConfig", {**TEXT, "pad_token_id": 1}, padded)
add(
    "distilbert",
    "DistilBertForSequenceClassification",
    "DistilBertConfig",
    {"vocab_size": 31, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "max_position_embeddings": 24},
    padded,
)
add(
    "gpt2",
    "GPT2LMHeadModel",
    "GPT2Config",
    {"vocab_size": 31, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 24},
    ids,
)
add("llama", "LlamaForCausalLM", "LlamaConfig", DECODER, padded)
add("gemma", "GemmaForCausalLM", "GemmaConfig", DECODER, ids)
add("gemma2", "Gemma2ForCausalLM", "Gemma2Config", DECODER, ids, kinds=EAGER)
add("qwen2", "Qwen2ForCausalLM", "Qwen2Config", DECODER, ids)
add("qwen3", "Qwen3ForCausalLM", "Qwen3Config", DECODER, ids)
add("mistral", "MistralForCausalLM", "MistralConfig", {**DECODER, "sliding_window": 3}, ids)
add("mixtral", "MixtralForCausalLM", "MixtralConfig", {**DECODER, **EXPERTS}, ids)
add("bart", "BartModel", "BartConfig", {
    "vocab_size": 31, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "max_position_embeddings": 24,
}, lambda: {**ids(), "decoder_input_ids": tokens(2, 3, 31)}, ("input_ids", "decoder_input_ids"))  # fmt: skip
add("t5", "T5ForConditionalGeneration", "T5Config", {
    "vocab_size": 31, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2,
    "feed_forward_proj": "gated-gelu", "decoder_start_token_id": 0,
}, lambda: {**ids(), "decoder_input_ids": tokens(2, 3, 31)}, ("input_ids", "decoder_input_ids"))  # fmt: skip
add("whisper", "WhisperForConditionalGeneration", "WhisperConfig", {
    "vocab_size": 31, "num_mel_bins": 4, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24,
    "max_source_positions": 4, "max_target_positions": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "decoder_start_token_id": 1, "suppress_tokens": None, "begin_suppress_tokens": None,
}, lambda: {"input_features": torch.randn(2, 4, 8), "decoder_input_ids": tokens(2, 3, 31)},
    ("input_features", "decoder_input_ids"))  # fmt: skip
add("wav2vec2", "Wav2Vec2ForCTC", "Wav2Vec2Config", {
    **SMALL, "vocab_size": 12, "conv_dim": (8, 8), "conv_kernel": (5, 3), "conv_stride": (3, 2),
    "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
}, lambda: {"input_values": torch.randn(2, 60)}, ("input",))  # fmt: skip
add("vit", "ViTForImageClassification", "ViTConfig", VISION, pixels, ("input",))
add("deit", "DeiTModel", "DeiTConfig", VISION, pixels, ("input",))
add("dinov2", "Dinov2Model", "Dinov2Config", VISION, pixels, ("input",))
add("swin", "SwinForImageClassification", "SwinConfig", {
    "image_size": 16, "patch_size": 2, "embed_dim": 8, "depths": [2, 1], "num_heads": [2, 2], "window_size": 2,
}, pixels, ("input",))  # fmt: skip
add("clip", "CLIPModel", "CLIPConfig", {
    "text_config": {**TEXT, "eos_token_id": 2, "bos_token_id": 1, "projection_dim": 8},
    "vision_config": {**VISION, "projection_dim": 8}, "projection_dim": 8,
}, pixels, ("input",), wrapped=ZeroShot)  # fmt: skip
add("siglip", "SiglipModel", "SiglipConfig", {"text_config": TEXT, "vision_config": VISION},
    pixels, ("input",), wrapped=ZeroShot)  # fmt: skip
add("mamba", "MambaForCausalLM", "MambaConfig", {
    "vocab_size": 31, "hidden_size": 8, "num_hidden_layers": 1, "state_size": 3, "expand": 2, "conv_kernel": 3,
}, ids, kinds=EAGER)  # fmt: skip
add("electra", "ElectraModel", "ElectraConfig", {**TEXT, "embedding_size": 16}, padded)
add("albert", "AlbertModel", "AlbertConfig", {**TEXT, "embedding_size": 8}, padded)
add("deberta", "DebertaV2Model", "DebertaV2Config", {
    **TEXT, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 4, "share_att_key": True,
}, padded, kinds=EAGER)  # fmt: skip
add("gpt_neox", "GPTNeoXForCausalLM", "GPTNeoXConfig", TEXT, ids)
add("opt", "OPTForCausalLM", "OPTConfig", {
    "vocab_size": 31, "hidden_size": 16, "num_hidden_layers": 2, "ffn_dim": 24, "num_attention_heads": 2,
    "max_position_embeddings": 24, "word_embed_proj_dim": 16,
}, padded)  # fmt: skip
add("phi", "PhiForCausalLM", "PhiConfig", TEXT, ids)
add(
    "bloom",
    "BloomForCausalLM",
    "BloomConfig",
    {"vocab_size": 31, "hidden_size": 16, "n_layer": 2, "n_head": 2},
    padded,
    kinds=EAGER,
)
