"""The table of ops that programs are drawn from. An op is one small entry: see `draw.op`.

Hole {0} is the value that the entry is given; each `draw.like(...)` gives the next hole. A new op needs no other file.
"""

from __future__ import annotations

from tests.fuzz.draw import Draw, Value, op


def last(value: Value) -> bool:
    """Return whether the last axis is free for features."""
    return value.rank >= 2 and value.axis != value.rank - 1


def image(value: Value, space: int) -> bool:
    """Return whether a value is [batch, channels, *space]."""
    return value.rank == space + 2 and value.axis == 0 and value.rows == 1


def a_dim(draw: Draw, value: Value) -> int | None:
    """Return one of the free axes, counted from either end; None if there is none."""
    if not value.free:
        return None
    dim = draw.choice(value.free)
    return dim if draw.chance(0.5) else dim - value.rank


# --- linear maps ------------------------------------------------------------------------------------------------------


@op("linear", plain=False, weight=3)
def linear(draw: Draw, v: Value) -> str | None:
    n = draw.number(1, 5)
    return f"F.linear({{0}}, {draw.weight(n, v.shape[-1])}, {draw.bias(n)})" if last(v) else None


@op("linear", plain=True, weight=3)
def matmul(draw: Draw, v: Value) -> str | None:
    return f"{{0}} @ {draw.weight(v.shape[-1], draw.number(1, 5))}" if last(v) else None


@op("linear", plain=True)
def matrix_before(draw: Draw, v: Value) -> str | None:
    fits = v.rank >= 2 and v.axis != v.rank - 2
    return f"{draw.weight(draw.number(1, 4), v.shape[-2])} @ {{0}}" if fits else None


@op("linear", plain=True)
def einsum(draw: Draw, v: Value) -> str | None:
    if v.rank != 3 or v.axis != 0:
        return None
    text, size = draw.choice((("bij,jo->bio", v.shape[2]), ("bij,io->boj", v.shape[1])))
    if size == 1:  # torch multiplies by a number instead: unit edges
        return None
    return f"torch.einsum('{text}', {{0}}, {draw.weight(size, 3)})"


@op("linear", weight=2)
def linear_module(draw: Draw, v: Value) -> str | None:
    n, bias = draw.choice((2, v.shape[-1])), draw.chance(0.5)
    return f"{draw.module(f'nn.Linear({v.shape[-1]}, {n}, bias={bias})')}({{0}})" if last(v) else None


@op("linear", plain=True, weight=2)
def conv1d(draw: Draw, v: Value) -> str | None:
    if not image(v, 1):
        return None
    groups = draw.choice(g for g in (1, 2, 3) if v.shape[1] % g == 0)
    weight = draw.weight(groups * draw.number(1, 2), v.shape[1] // groups, draw.number(1, 3))
    return (
        f"F.conv1d({{0}}, {weight}, stride={draw.number(1, 2)}, padding={draw.number(0, 2)}, "
        f"dilation={draw.number(1, 2)}, groups={groups})"
    )


@op("linear", weight=3)
def conv2d(draw: Draw, v: Value) -> str | None:
    if not image(v, 2):
        return None
    groups = draw.choice(g for g in (1, 2, 3) if v.shape[1] % g == 0)
    out = groups * draw.number(1, 2)
    weight = draw.weight(out, v.shape[1] // groups, draw.number(1, 3), draw.number(1, 3))
    padding = draw.choice(("0", "1", "(0, 1)", "(2, 1)", "'same'"))
    stride = "1" if padding == "'same'" else draw.choice(("1", "2", "(1, 2)"))
    dilation = draw.choice(("1", "1", "2", "(1, 2)"))
    return f"F.conv2d({{0}}, {weight}, {draw.bias(out)}, {stride}, {padding}, {dilation}, {groups})"


@op("unlisted", weight=1)
def conv_module(draw: Draw, v: Value) -> str | None:
    if not image(v, 2):
        return None
    mode = draw.choice(("zeros", "reflect", "replicate", "circular"))
    text = f"nn.Conv2d({v.shape[1]}, 2, 3, padding=1, bias={draw.chance(0.5)}, padding_mode='{mode}')"
    return f"{draw.module(text)}({{0}})"


# --- pools, normalisation ---------------------------------------------------------------------------------------------


@op("max", plain=True, weight=2)
def max_pool2d(draw: Draw, v: Value) -> str | None:
    if not image(v, 2):
        return None
    return (
        f"F.max_pool2d({{0}}, {draw.choice(('2', '3', '(2, 1)'))}, stride={draw.choice((None, 1, 2))}, "
        f"padding={draw.choice((0, 0, 1))}, dilation={draw.choice((1, 1, 2))}, ceil_mode={draw.chance(0.5)})"
    )


@op("max", plain=True)
def max_pool1d(draw: Draw, v: Value) -> str | None:
    return f"F.max_pool1d({{0}}, 2, stride={draw.number(1, 2)}, padding={draw.number(0, 1)})" if image(v, 1) else None


@op("max", plain=True)
def adaptive_max_pool2d(draw: Draw, v: Value) -> str | None:
    return f"F.adaptive_max_pool2d({{0}}, ({draw.number(1, 3)}, {draw.number(1, 2)}))" if image(v, 2) else None


@op("average", plain=True, weight=2)
def avg_pool2d(draw: Draw, v: Value) -> str | None:
    if not image(v, 2):
        return None
    return (
        f"F.avg_pool2d({{0}}, {draw.choice(('2', '3', '(1, 2)'))}, stride={draw.choice((None, 1, 2))}, "
        f"padding={draw.choice(('0', '0', '(0, 1)' if draw.chance(0.5) else '1'))}, ceil_mode={draw.chance(0.5)}, "
        f"count_include_pad={draw.chance(0.5)}, divisor_override={draw.choice((None, None, 3))})"
    )


@op("average", plain=True)
def adaptive_avg_pool2d(draw: Draw, v: Value) -> str | None:
    return f"F.adaptive_avg_pool2d({{0}}, ({draw.number(1, 3)}, {draw.number(1, 2)}))" if image(v, 2) else None


@op("scale", weight=1)
def batch_norm(draw: Draw, v: Value) -> str | None:
    if v.axis != 0 or v.rows != 1 or v.rank not in (2, 3, 4):
        return None
    dims = {2: "1d", 3: "1d", 4: "2d"}[v.rank]
    affine = draw.chance(0.7)
    return f"{draw.module(f'nn.BatchNorm{dims}({v.shape[1]}, affine={affine})')}({{0}})"


# --- entries that move ------------------------------------------------------------------------------------------------


@op("index", plain=True, weight=2)
def reshape(draw: Draw, v: Value) -> str | None:
    """Free axes are merged into one, or one is split; the examples' axis stays where it is, or is merged too."""
    dims = v.dims
    splits = [dim for dim in v.free if any(v.shape[dim] % n == 0 and v.shape[dim] > n for n in (2, 3))]
    if splits and draw.chance(0.5):
        dim = draw.choice(splits)
        n = draw.choice(n for n in (2, 3) if v.shape[dim] % n == 0)
        new = [*dims[:dim], str(n), str(v.shape[dim] // n), *dims[dim + 1 :]]
        return f"{{0}}.reshape({', '.join(new)})"
    if v.rank < 2:
        return None
    dim = draw.number(0, v.rank - 2)
    return f"{{0}}.flatten({dim}, {dim + 1})"


@op("index", plain=True, weight=2)
def permute(draw: Draw, v: Value) -> str | None:
    order = list(range(v.rank))
    draw.random.shuffle(order)
    return f"{{0}}.permute({', '.join(map(str, order))})" if v.rank > 1 else None


@op("index", plain=True)
def transpose(draw: Draw, v: Value) -> str | None:
    if v.rank < 2:
        return None
    a, b = draw.random.sample(range(v.rank), 2)
    return f"{{0}}.transpose({a}, {b - v.rank})" + draw.choice(("", ".contiguous()"))


@op("index", plain=True)
def unsqueeze(draw: Draw, v: Value) -> str | None:
    return f"{{0}}.unsqueeze({draw.number(0, v.rank)})" if v.rank < 4 else None


@op("index", plain=True)
def squeeze(draw: Draw, v: Value) -> str | None:
    single = [dim for dim in v.free if v.shape[dim] == 1]
    return f"{{0}}.squeeze({draw.choice(single)})" if single and v.rank > 1 else None


@op("index", plain=True)
def cat(draw: Draw, v: Value) -> str | None:
    dim = a_dim(draw, v)
    draw.like(v)
    return None if dim is None else f"torch.cat([{{0}}, {{1}}], {dim})"


@op("index")
def cat_constant(draw: Draw, v: Value) -> str | None:
    if v.axis != 0 or v.rank < 2:
        return None
    part = f"{draw.weight(*v.shape[1:])}.expand({', '.join(v.dims)})"
    first, second = draw.choice((("{0}", part), (part, "{0}")))
    return f"torch.cat([{first}, {second}], {draw.number(1, v.rank - 1)})"


@op("index", plain=True)
def stack(draw: Draw, v: Value) -> str | None:
    draw.like(v)
    return f"torch.stack([{{0}}, {{1}}], {draw.number(0, v.rank)})" if v.rank < 4 else None


@op("index", plain=True)
def split(draw: Draw, v: Value) -> str | None:
    dim = a_dim(draw, v)
    if dim is None or v.shape[dim] < 2:
        return None
    first = draw.number(1, v.shape[dim] - 1)
    return f"torch.split({{0}}, [{first}, {v.shape[dim] - first}], {dim})[{draw.number(0, 1)}]"


@op("index", plain=True)
def chunk(draw: Draw, v: Value) -> str | None:
    dim = a_dim(draw, v)
    return None if dim is None else f"{{0}}.chunk(2, {dim})[{draw.choice((0, -1))}]"


@op("index", plain=True)
def unbind(draw: Draw, v: Value) -> str | None:
    dim = a_dim(draw, v)
    return None if dim is None or v.rank < 3 else f"{{0}}.unbind({dim})[{draw.number(0, v.shape[dim] - 1)}]"


@op("index", plain=True, weight=2)
def slicing(draw: Draw, v: Value) -> str | None:
    parts = []
    for dim, size in enumerate(v.shape):
        options = (":", "::2", f":{max(1, size - 1)}", f"{min(1, size - 1)}:", "-1")
        parts.append(":" if dim == v.axis else draw.choice(options))
    return f"{{0}}[{', '.join(parts)}]"


@op("index", plain=True)
def index(draw: Draw, v: Value) -> str | None:
    if not v.free:
        return None
    dim = draw.choice(v.free)
    numbers = [draw.number(0, v.shape[dim] - 1) for _ in range(draw.number(1, 4))]
    at = draw.tensor(f"torch.tensor({numbers})")
    return draw.choice((f"{{0}}[{':, ' * dim}{at}]", f"{{0}}.index_select({dim}, {at})"))


@op("index", plain=True)
def expand(draw: Draw, v: Value) -> str | None:
    single = [dim for dim in v.free if v.shape[dim] == 1]
    if not single:
        return f"{{0}}.expand(2, {', '.join(v.dims)})" if v.rank < 4 else None
    dim = draw.choice(single)
    dims = [str(draw.number(2, 3)) if d == dim else text for d, text in enumerate(v.dims)]
    return f"{{0}}.expand({', '.join(dims)})"


@op("index", plain=True)
def repeat(draw: Draw, v: Value) -> str | None:
    return f"{{0}}.repeat({', '.join('1' if d == v.axis else str(draw.number(1, 2)) for d in range(v.rank))})"


@op("index", plain=True)
def flip(draw: Draw, v: Value) -> str | None:
    dim = a_dim(draw, v)
    return None if dim is None else f"{{0}}.flip({dim})"


@op("index", plain=True)
def roll(draw: Draw, v: Value) -> str | None:
    dim = a_dim(draw, v)
    return None if dim is None else f"{{0}}.roll({draw.number(-2, 2)}, {dim})"


@op("index", plain=True)
def pad(draw: Draw, v: Value) -> str | None:
    if not last(v):
        return None
    return f"F.pad({{0}}, ({draw.number(-1, 2)}, {draw.number(0, 2)}))"


@op("index")
def pad_value(draw: Draw, v: Value) -> str | None:
    return f"F.pad({{0}}, (1, {draw.number(0, 2)}), value={draw.real()})" if last(v) else None


@op("index", plain=True)
def pad_reflect(draw: Draw, v: Value) -> str | None:
    mode = draw.choice(("reflect", "replicate", "circular"))
    return f"F.pad({{0}}, (1, 1), mode='{mode}')" if image(v, 1) and v.shape[-1] > 1 else None


@op("index")
def masked_fill(draw: Draw, v: Value) -> str | None:
    if not last(v):
        return None
    mask = draw.tensor(f"torch.tensor({[draw.chance(0.4) for _ in range(v.shape[-1])]})")
    return f"{{0}}.masked_fill({mask}, {draw.choice((0.0, draw.real()))})"


@op("index", plain=True)
def where(draw: Draw, v: Value) -> str | None:
    if not last(v):
        return None
    draw.like(v)
    mask = draw.tensor(f"torch.tensor({[draw.chance(0.5) for _ in range(v.shape[-1])]})")
    return f"torch.where({mask}, {{0}}, {{1}})"


@op("index", plain=True)
def diagonal(draw: Draw, v: Value) -> str | None:
    return f"{{0}}.diagonal({draw.number(-1, 1)}, -2, -1)" if v.rank >= 3 and v.axis < v.rank - 2 else None


@op("index", plain=True)
def triangle(draw: Draw, v: Value) -> str | None:
    way = draw.choice(("tril", "triu"))
    return f"{{0}}.{way}({draw.number(-1, 1)})" if v.rank >= 3 and v.axis < v.rank - 2 else None


@op("index", plain=True)
def unfold(draw: Draw, v: Value) -> str | None:
    return f"{{0}}.unfold(-1, 2, {draw.number(1, 2)})" if last(v) and v.shape[-1] > 1 else None


@op("index", plain=True)
def upsample(draw: Draw, v: Value) -> str | None:
    return "F.interpolate({0}, scale_factor=2)" if image(v, 1) or image(v, 2) else None


# --- sums and constants -----------------------------------------------------------------------------------------------


@op("sum", plain=True, weight=3)
def add(draw: Draw, v: Value) -> str | None:
    draw.like(v)
    return draw.choice(("{0} + {1}", "{0} - {1}", "torch.add({0}, {1}, alpha=0.5)", "torch.sub({1}, {0}, alpha=2)"))


@op("sum", plain=True, weight=2)
def add_broadcast(draw: Draw, v: Value) -> str | None:
    """The second operand lacks a free axis, or has it with the size one."""

    def smaller(one: Value) -> bool:
        if one.rank != v.rank or one.axis != v.axis or one.rows != v.rows or one.shape == v.shape:
            return False
        return all(a == b or b == 1 for a, b in zip(v.shape, one.shape, strict=True))

    if draw.like(v, smaller) is None:
        return None
    return draw.choice(("{0} + {1}", "{1} - {0}"))


@op("scale")
def add_constant(draw: Draw, v: Value) -> str | None:
    tail = v.shape[v.axis + 1 :]
    shape = tail[draw.number(0, len(tail)) :] or (1,)
    constant = draw.choice((repr(draw.real()), draw.weight(*shape)))
    return draw.choice((f"{{0}} + {constant}", f"{{0}} - {constant}", f"{constant} - {{0}}"))


@op("unit", plain=True, weight=2)
def times_constant(draw: Draw, v: Value) -> str | None:
    tail = v.shape[v.axis + 1 :]
    constant = draw.choice((repr(draw.real()), draw.weight(*(tail or (1,)))))
    return draw.choice((f"{{0}} * {constant}", f"{constant} * {{0}}", f"{{0}} / {draw.real()}", "-{0}"))


@op("average", plain=True)
def mean(draw: Draw, v: Value) -> str | None:
    dim = a_dim(draw, v)
    return None if dim is None else f"{{0}}.mean({dim}, keepdim={draw.chance(0.4)})"


@op("sum", plain=True)
def total(draw: Draw, v: Value) -> str | None:
    dim = a_dim(draw, v)
    return None if dim is None else f"{{0}}.sum({dim}, keepdim={draw.chance(0.4)})"


@op("sum", plain=True)
def cumsum(draw: Draw, v: Value) -> str | None:
    dim = a_dim(draw, v)
    return None if dim is None else f"{{0}}.cumsum({dim})"


@op("max", plain=True)
def amax(draw: Draw, v: Value) -> str | None:
    dim = a_dim(draw, v)
    if dim is None:
        return None
    keep = draw.chance(0.4)
    return draw.choice((f"{{0}}.amax({dim}, keepdim={keep})", f"{{0}}.max({dim}, keepdim={keep}).values"))


@op("max", plain=True)
def maximum(draw: Draw, v: Value) -> str | None:
    draw.like(v)
    return "torch.maximum({0}, {1})"


# --- one entry to one entry -------------------------------------------------------------------------------------------


@op("unit", plain=True, weight=4)
def rectifiers(draw: Draw, v: Value) -> str | None:
    return draw.choice(
        ("F.relu({0})", "F.leaky_relu({0}, 0.1)", "{0}.clamp(min=0)", "F.relu({0}.clone(), inplace=True)")
    )


@op("unit", weight=2)
def smooth(draw: Draw, v: Value) -> str | None:
    names = ("F.gelu", "torch.sigmoid", "torch.tanh", "F.silu", "F.elu", "F.softplus", "torch.sin", "F.hardswish")
    return f"{draw.choice(names)}({{0}})"


@op("unit")
def clamp(draw: Draw, v: Value) -> str | None:
    return draw.choice(("{0}.clamp(-1, 0.5)", "torch.minimum({0}, torch.ones_like({0}))", "{0}.abs()", "{0} ** 2"))


# --- writes -----------------------------------------------------------------------------------------------------------


@op("unlisted")
def in_place(draw: Draw, v: Value) -> str | None:
    line = draw.choice(("out.mul_(2)", "out.relu_()", "out.add_({0}, alpha=0.5)", "out += {0}", "out.sub_(1)"))
    return f"out = {{0}}.clone()\n{line}"


@op("index", plain=True)
def write_slice(draw: Draw, v: Value) -> str | None:
    if not last(v):
        return None
    draw.like(v)
    n = draw.number(0, v.shape[-1] - 1)
    return f"out = {{0}}.clone()\nout[..., {n}:] = {{1}}[..., {n}:]"


@op("unlisted")
def write_into_view(draw: Draw, v: Value) -> str | None:
    if not last(v):
        return None
    part = draw.choice(("out[..., 0]", "out.transpose(0, -1)[-1]", "out.narrow(-1, 0, 1)"))
    line = draw.choice(("part.mul_(3)", "part.add_(0.5)", "part.zero_()", "part.relu_()", "part.copy_(part * 2)"))
    return f"out = {{0}}.clone()\npart = {part}\n{line}"


@op("unlisted")
def filled_buffer(draw: Draw, v: Value) -> str | None:
    if v.axis != 0 or v.rank != 2 or v.rows != 1:
        return None
    return (
        f"out = torch.zeros(B, {v.shape[1]}, 2, dtype={{0}}.dtype)\n"
        "for i in range(2):\n    out[:, :, i] = {0} * (i + 1)"
    )


@op("unlisted", by_batch=True)
def data_control(draw: Draw, v: Value) -> str | None:
    return "{0} * 2 if bool({0}.detach().sum() > 0) else -{0}"
