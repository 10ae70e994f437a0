"""Attention written in every way that people write it; each spelling is to have one answer."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.entries import entry, tokens

FUSED = 1e-5


class Attention(nn.Module):
    """Self-attention with the product written as `spelling` says."""

    def __init__(self, width: int, heads: int, spelling: str = "sdpa", key_heads: int | None = None) -> None:
        super().__init__()
        self.heads, self.key_heads, self.spelling = heads, key_heads or heads, spelling
        self.size = width // heads
        self.q = nn.Linear(width, width)
        self.kv, self.out = nn.Linear(width, 2 * self.key_heads * self.size), nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        batch, length, width = x.shape
        q = self.q(x).view(batch, length, self.heads, self.size).transpose(1, 2)
        k, v = self.kv(x).view(batch, length, 2, self.key_heads, self.size).permute(2, 0, 3, 1, 4)
        return self.out(self.attend(q, k, v, mask, causal).transpose(1, 2).reshape(batch, length, width))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
        if self.spelling == "sdpa":
            grouped = self.heads != self.key_heads
            return F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, enable_gqa=grouped)
        times = self.heads // self.key_heads
        if times > 1:
            k = k[:, :, None].expand(-1, -1, times, -1, -1).flatten(1, 2)
            v = v.repeat_interleave(times, 1)
        if self.spelling == "einsum":
            scores = torch.einsum("bhqd,bhkd->bhqk", q, k) / self.size**0.5
        else:
            scores = torch.matmul(q * self.size**-0.5, k.transpose(-2, -1))
        if causal:
            allowed = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril()
            scores = scores.masked_fill(~allowed, float("-inf"))
        if mask is not None:
            scores = scores + torch.zeros_like(scores).masked_fill(~mask, torch.finfo(scores.dtype).min)
        weights = torch.softmax(scores, -1)
        if self.spelling == "einsum":
            return torch.einsum("bhqk,bhkd->bhqd", weights, v)
        return weights @ v


class Block(nn.Module):
    """A pre-norm block."""

    def __init__(self, width: int, heads: int, spelling: str = "sdpa", key_heads: int | None = None) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads, spelling, key_heads)
        self.norm2, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        x = x + self.attention(self.norm1(x), mask, causal)
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Decoder(nn.Module):
    """Tokens, causal blocks, and a head that is tied to the embedding; the last token's logits."""

    def __init__(self, spelling: str, key_heads: int | None = None) -> None:
        super().__init__()
        self.embed, self.places = nn.Embedding(11, 8), nn.Embedding(16, 8)
        self.blocks = nn.ModuleList(Block(8, 4, spelling, key_heads) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        x = self.embed(input_ids) + self.places(torch.arange(input_ids.shape[1]))
        mask = None if attention_mask is None else attention_mask[:, None, None, :].bool()
        for block in self.blocks:
            x = block(x, mask, causal=mask is None)
        return self.head(self.norm(x))[:, -1]


def decoder(spelling: str, key_heads: int | None = None) -> Any:
    return Decoder(spelling, key_heads), (tokens(2, 5, 11),)


TOKENS = ("input_ids",)


@entry(FUSED, TOKENS)
def decoder_sdpa() -> Any:
    return decoder("sdpa")


@entry(0.0, TOKENS)
def decoder_by_hand() -> Any:
    return decoder("matmul")


@entry(0.0, TOKENS)
def decoder_einsum() -> Any:
    return decoder("einsum")


@entry(FUSED, TOKENS)
def decoder_grouped_queries() -> Any:
    return decoder("sdpa", 2)


@entry(0.0, TOKENS)
def decoder_grouped_by_hand() -> Any:
    return decoder("matmul", 2)


@entry(FUSED, TOKENS)
def encoder_with_padding() -> Any:
    """A mask that differs from example to example."""
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    return Decoder("sdpa"), (tokens(2, 5, 11),), {"attention_mask": mask}


@entry(0.0, TOKENS)
def encoder_with_padding_by_hand() -> Any:
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    return Decoder("matmul"), (tokens(2, 5, 11),), {"attention_mask": mask}


@entry(FUSED)
def sdpa_with_bias() -> Any:
    """An additive bias (ALiBi) and a scale of one's own."""

    def model(x: Tensor) -> Tensor:
        q, k, v = x.view(2, 5, 2, 12).transpose(1, 2).chunk(3, -1)
        bias = -(torch.arange(5)[:, None] - torch.arange(5)).abs().to(x.dtype) / 2
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=0.3).transpose(1, 2).flatten(2)

    return model, (torch.randn(2, 5, 24),)


@entry(FUSED)
def encoder_layer() -> Any:
    """nn.TransformerEncoder, which takes torch's fast path in evaluation."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), (torch.randn(2, 5, 8),)


@entry(FUSED)
def encoder_layer_norm_first() -> Any:
    return nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True, norm_first=True), (
        torch.randn(2, 5, 8),
    )


@entry(FUSED, ("input",))
def encoder_layer_with_padding() -> Any:
    """Padding would be taken out as nested tensors on the fast path."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1)

        def forward(self, src: Tensor, padding_mask: Tensor) -> Tensor:
            return self.encoder(src, src_key_padding_mask=padding_mask)[:, 0]

    return Net(), (torch.randn(2, 5, 8), torch.tensor([[False] * 5, [False, False, False, True, True]]))


@entry(FUSED, ("src", "tgt"))
def encoder_decoder() -> Any:
    model = nn.Transformer(8, 2, 1, 1, 16, batch_first=True)
    mask = nn.Transformer.generate_square_subsequent_mask(4)
    return model, (torch.randn(2, 5, 8), torch.randn(2, 4, 8)), {"tgt_mask": mask, "tgt_is_causal": True}


@entry(FUSED, ("query", "key"))
def cross_attention() -> Any:
    """nn.MultiheadAttention, with its weights as a second output."""
    model = nn.MultiheadAttention(8, 2, kdim=6, vdim=6, batch_first=True, add_bias_kv=True)
    memory = torch.randn(2, 4, 6)
    return model, (torch.randn(2, 5, 8), memory, memory)


@entry(FUSED)
def vit() -> Any:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch, self.cls = nn.Conv2d(3, 8, 4, 4), nn.Parameter(torch.randn(1, 1, 8))
            self.places, self.blocks = nn.Parameter(torch.randn(1, 10, 8)), nn.Sequential(Block(8, 2), Block(8, 2))
            self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = self.patch(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1) + self.places
            return self.head(self.norm(self.blocks(x))[:, 0])

    return Net(), (torch.randn(2, 3, 12, 12),)


@entry()
def swin() -> Any:
    """Shifted windows: roll, window views, a table of relative positions, a mask, and merging of patches."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch, self.norm, self.qkv, self.out = (
                nn.Conv2d(3, 8, 2, 2),
                nn.LayerNorm(8),
                nn.Linear(8, 24),
                nn.Linear(8, 8),
            )
            self.table = nn.Parameter(torch.randn(9, 2))
            where = torch.stack(torch.meshgrid(torch.arange(2), torch.arange(2), indexing="ij")).flatten(1)
            apart = (where[:, :, None] - where[:, None, :] + 1).permute(1, 2, 0)
            self.register_buffer("index", apart[..., 0] * 3 + apart[..., 1])
            self.merge, self.head = nn.Linear(32, 16, bias=False), nn.Linear(16, 5)

        def attend(self, x: Tensor) -> Tensor:
            """x [batch, 4, 4, 8], in windows of 2 by 2, shifted by one."""
            batch = x.shape[0]
            x = torch.roll(x, (-1, -1), (1, 2)).view(batch, 2, 2, 2, 2, 8).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, 8)
            q, k, v = self.qkv(x).reshape(-1, 4, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
            scores = (q * 0.5) @ k.transpose(-2, -1)
            scores = scores + self.table[self.get_buffer("index").view(-1)].view(4, 4, 2).permute(2, 0, 1).unsqueeze(0)
            region = torch.zeros(4, 4, dtype=x.dtype)
            region[3:] += 1
            region[:, 3:] += 2
            region = region.view(2, 2, 2, 2).transpose(1, 2).reshape(4, 4)
            mask = (region[:, None] != region[:, :, None]).to(x.dtype) * -100.0
            scores = (scores.view(batch, 4, 2, 4, 4) + mask[None, :, None]).view(-1, 2, 4, 4)
            x = (scores.softmax(-1) @ v).transpose(1, 2).reshape(-1, 4, 8)
            x = self.out(x).view(batch, 2, 2, 2, 2, 8).permute(0, 1, 3, 2, 4, 5).reshape(batch, 4, 4, 8)
            return torch.roll(x, (1, 1), (1, 2))

        def forward(self, x: Tensor) -> Tensor:
            x = self.patch(x).permute(0, 2, 3, 1)
            x = x + self.attend(self.norm(x))
            x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
            return self.head(self.merge(x).mean((1, 2)))

    return Net(), (torch.randn(2, 3, 8, 8),)


@entry(0.0, TOKENS)
def llama_by_hand() -> Any:
    """Rotary positions, grouped queries, RMS norms written out, SiLU gates."""

    class Norm(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.rand(width) + 0.5)

        def forward(self, x: Tensor) -> Tensor:
            return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.norm1, self.norm2, self.norm3 = nn.Embedding(11, 8), Norm(8), Norm(8), Norm(8)
            self.q, self.k, self.v, self.o = (nn.Linear(8, n, bias=False) for n in (8, 4, 4, 8))
            self.gate, self.up, self.down = (nn.Linear(a, b, bias=False) for a, b in ((8, 12), (8, 12), (12, 8)))
            self.head = nn.Linear(8, 11, bias=False)

        def rotate(self, x: Tensor) -> Tensor:
            angle = torch.arange(x.shape[2], dtype=x.dtype)[:, None] * torch.tensor([1.0, 0.1], dtype=x.dtype)
            angle = torch.cat([angle, angle], -1)
            turned = torch.cat([-x[..., 2:], x[..., :2]], -1)
            return x * angle.cos() + turned * angle.sin()

        def forward(self, input_ids: Tensor) -> Tensor:
            x = self.embed(input_ids)
            batch, length, _ = x.shape
            h = self.norm1(x)
            q = self.rotate(self.q(h).view(batch, length, 2, 4).transpose(1, 2))
            k = self.rotate(self.k(h).view(batch, length, 1, 4).transpose(1, 2)).expand(-1, 2, -1, -1)
            v = self.v(h).view(batch, length, 1, 4).transpose(1, 2).repeat(1, 2, 1, 1)
            scores = q @ k.mT / 2 + torch.full((length, length), float("-inf"), dtype=x.dtype).triu(1)
            x = x + self.o((scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, 8))
            h = self.norm2(x)
            x = x + self.down(F.silu(self.gate(h)) * self.up(h))
            return self.head(self.norm3(x))[:, -1]

    return Net(), (tokens(2, 5, 11),)


@entry(0.0, ("input_ids",))
def mixture_of_experts() -> Any:
    """Top-2 routing as Mixtral writes it: the experts take the tokens that chose them, and are summed back."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.router, self.norm = nn.Embedding(11, 6), nn.Linear(6, 3, bias=False), nn.RMSNorm(6)
            self.experts = nn.ModuleList(nn.Sequential(nn.Linear(6, 8), nn.SiLU(), nn.Linear(8, 6)) for _ in range(3))

        def forward(self, input_ids: Tensor) -> dict[str, Tensor]:
            x = self.norm(self.embed(input_ids))
            flat = x.reshape(-1, 6)
            weights, chosen = self.router(flat).softmax(-1).topk(2, -1)
            weights = weights / weights.sum(-1, keepdim=True)
            result = torch.zeros_like(flat)
            for number, expert in enumerate(self.experts):
                row, place = torch.where(chosen == number)
                result.index_add_(0, row, expert(flat[row]) * weights[row, place, None])
            return {"hidden": x + result.view_as(x), "router": weights.view(*x.shape[:2], 2)}

    return Net(), (tokens(1, 5, 11),)


@entry()
def mlp_mixer() -> Any:
    class Mixer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(6), nn.LayerNorm(6)
            self.across = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4))
            self.within = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 6))

        def forward(self, x: Tensor) -> Tensor:
            x = x + self.across(self.norm1(x).transpose(1, 2)).transpose(1, 2)
            return x + self.within(self.norm2(x))

    patch = nn.Sequential(nn.Conv2d(3, 6, 4, 4), nn.Flatten(2), nn.Unflatten(1, (6,)))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch, self.mixer, self.head = patch, Mixer(), nn.Linear(6, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.mixer(self.patch(x).transpose(1, 2)).mean(1))

    return Net(), (torch.randn(2, 3, 8, 8),)


@entry(0.0, TOKENS)
def linear_attention() -> Any:
    """Without softmax: elu + 1 features and cumulative sums, causal."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.qkv = nn.Embedding(11, 4), nn.Linear(4, 12)

        def forward(self, input_ids: Tensor) -> Tensor:
            q, k, v = self.qkv(self.embed(input_ids)).chunk(3, -1)
            q, k = F.elu(q) + 1, F.elu(k) + 1
            memory = torch.einsum("btd,bte->btde", k, v).cumsum(1)
            return torch.einsum("btd,btde->bte", q, memory) / (q * k.cumsum(1)).sum(-1, keepdim=True)

    return Net(), (tokens(2, 5, 11),)


@entry()
def contrastive() -> Any:
    """Two towers, unit vectors, a learned temperature: CLIP's and SigLIP's head, image against fixed texts."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.image, self.scale, self.texts = (
                nn.Linear(6, 4),
                nn.Parameter(torch.tensor(1.5)),
                nn.Parameter(torch.randn(3, 4)),
            )

        def forward(self, x: Tensor) -> Tensor:
            image = self.image(x)
            image = image / image.norm(dim=-1, keepdim=True)
            return F.log_softmax(self.scale.exp() * image @ F.normalize(self.texts, dim=-1).t(), -1)

    return Net(), (torch.randn(2, 6),)
