"""The specification once more, in plain Python integers and loops: slow, and independent of `golden`.

Tensors are nested lists `[token][channel]`; parameters are read from a description's tensors as integers.
"""

from __future__ import annotations

from typing import Any

from hwgen.machine import tables
from hwgen.network.description import Description

Matrix = list[list[int]]


def rnd(v: int, s: int) -> int:
    """v / 2^s rounded to nearest, ties upwards."""
    return v if s == 0 else (2 * v + 2**s) // 2 ** (s + 1)


def sat(v: int, bits: int) -> int:
    """Saturate to a signed number of `bits`."""
    return max(-(2 ** (bits - 1)), min(2 ** (bits - 1) - 1, v))


def sat9(v: int) -> int:
    """Saturate to what a row operand of the array holds: -256 is not among its nine bits' values."""
    return max(-255, min(255, v))


def dot(a: list[int], b: list[int]) -> int:
    return sum(x * y for x, y in zip(a, b, strict=True))


def linear(t: dict[str, Any], name: str, rows: Matrix, factors: list[int] | None = None) -> Matrix:
    """Requantized but unsaturated `rows · Wᵀ`, with a row factor each if given."""
    weight, bias, mult, shift = (t[f"{name}.{part}"].tolist() for part in ("weight", "bias", "mult", "shift"))
    out = []
    for i, row in enumerate(rows):
        m = mult if factors is None else [factors[i] * one // 65536 for one in mult]
        out.append([rnd((dot(row, weight[c]) + bias[c]) * m[c], shift[c]) for c in range(len(weight))])
    return out


def saturated(rows: Matrix, bits: int) -> Matrix:
    return [[sat(v, bits) for v in row] for row in rows]


def operands(rows: Matrix) -> Matrix:
    return [[sat9(v) for v in row] for row in rows]


def added(x: Matrix, update: Matrix, shift: int = 0) -> Matrix:
    """Residual addition of an update that is saturated first; x loses `shift` fraction bits."""
    rows = zip(x, update, strict=True)
    return [[sat(rnd(a, shift) + sat(b, 16), 16) for a, b in zip(r, s, strict=True)] for r, s in rows]


def patches(image: list[list[list[int]]], height: int, width: int) -> Matrix:
    out = []
    for top in range(0, len(image), height):
        for left in range(0, len(image[0]), width):
            rows = range(top, top + height)
            out.append([v for r in rows for c in range(left, left + width) for v in image[r][c]])
    return out


def xhat(row: list[int], eps: int, rms: bool = False) -> list[int]:
    d, total = len(row), 0 if rms else sum(row)
    v = d * sum(e * e for e in row) - total * total + eps
    assert 1 <= v < 2**52
    lz = 52 - v.bit_length()
    lz -= lz % 2
    vn = v << lz
    m = vn >> 34
    y0 = tables.RSQRT[vn >> 46]
    y1 = (y0 * (3 * 65536 - ((m * ((y0 * y0) >> 16)) >> 16))) >> 17
    assert 2**16 <= m < 2**18 and 0 < y1 < 2**17
    return [sat(rnd((d * e - total) * y1, 31 - lz // 2), 18) for e in row]


def norm(t: dict[str, Any], name: str, x: Matrix) -> Matrix:
    """LayerNorm or, where the description says so, RMSNorm; a rescale where there is no eps."""
    gamma, beta, shift = t[f"{name}.gamma"].tolist(), t[f"{name}.beta"].tolist(), int(t[f"{name}.shift"][0])
    out = []
    for row in x:
        h = xhat(row, int(t[f"{name}.eps"][0]), t.get("rms_norm", False)) if f"{name}.eps" in t else row
        out.append([sat9(rnd(e * g + b, shift)) for e, g, b in zip(h, gamma, beta, strict=True)])
    return out


def reversed_bits(key: int) -> int:
    """The five low bits of a key's number, written backwards."""
    return int(f"{key % 32:05b}"[::-1], 2)


def prob(row: list[int]) -> list[int]:
    """Keys are numbered from the first of the row, that of its image."""
    top = max(row)
    powers = [tables.EXP[(top - e) % 32] // 2 ** ((top - e) // 32) for e in row]
    return [(power + reversed_bits(key)) // 32 for key, power in enumerate(powers)]


def activation(kind: str, h: int, mult: int, shift: int, zero: int) -> int:
    h = sat(h, 13)
    g = 4 * max(h, 0) - (tables.ACTIVATIONS[kind][abs(h)] if abs(h) < 1024 else 0)
    return sat9(rnd(g * mult, shift) + zero)


def wide(kind: str, h: int, mult: int, shift: int, zero: int, windows: int) -> int:
    """The activation of a channel with so many windows, before it is cut into them."""
    h = sat(h, 13)
    g = 4 * max(h, 0) - (tables.ACTIVATIONS[kind][abs(h)] if abs(h) < 1024 else 0)
    return max(-255, min(510 * windows - 255, rnd(g * mult, shift) + zero))


def hidden(t: dict[str, Any], name: str, kind: str, y: Matrix) -> Matrix:
    scale = [int(t[f"{name}.activation.{part}"][0]) for part in ("mult", "shift", "zero")]
    pre = linear(t, f"{name}.fc1", y)
    windows = t.get(f"{name}.activation.windows", t[f"{name}.fc1.shift"] * 0 + 1).tolist()
    return [[wide(kind, h, *scale, n) for h, n in zip(row, windows, strict=True)] for row in pre]


def gate(kind: str, h: int, u: int, mult: int, shift: int, zero: int) -> int:
    h = sat(h, 13)
    g = 4 * max(h, 0) - (tables.ACTIVATIONS[kind][abs(h)] if abs(h) < 1024 else 0)
    return sat9(rnd(g * (u * mult // 128), shift) + zero)


def gated(t: dict[str, Any], name: str, kind: str, y: Matrix) -> tuple[Matrix, Matrix]:
    """What gates, and the hidden activations."""
    mult, shift, zero = (int(t[f"{name}.activation.{part}"][0]) for part in ("mult", "shift", "zero"))
    up = [[sat9(v) for v in row] for row in linear(t, f"{name}.up", y)]
    pairs = [zip(row, factors, strict=True) for row, factors in zip(linear(t, f"{name}.fc1", y), up, strict=True)]
    return up, [[gate(kind, h, u, mult, shift, zero) for h, u in row] for row in pairs]


def cut(rows: Matrix, windows: list[int]) -> Matrix:
    """Hidden activations as operands: all first windows, then the second ones of the channels that have one, ..."""
    channels = [(c, w) for w in range(max(windows)) for c, count in enumerate(windows) if count > w]
    return [[max(-255, min(255, row[c] - 510 * w)) for c, w in channels] for row in rows]


def route(logits: list[int], k: int, gate: str) -> tuple[list[int], list[int]]:
    """Winners in ascending order and their weights."""
    winners: list[int] = []
    for _ in range(k):
        left = [e for e in range(len(logits)) if e not in winners]
        winners.append(next(e for e in left if logits[e] == max(logits[i] for i in left)))
    winners.sort()
    u = [rnd(max(logits) - e, 8) for e in logits]
    p = [rnd(tables.GATE_EXP[e % 256], e // 256) for e in u]
    den = sum(p) if gate == "softmax_topk" else sum(p[e] for e in winners)
    return winners, [rnd(p[e] * (2**40 // den), 24) for e in winners]


def attention(t: dict[str, Any], name: str, heads: int, x: Matrix, y: Matrix, x_shift: int = 0) -> dict[str, Any]:
    out: dict[str, Any] = {"v": saturated(linear(t, f"{name}.v", y), 8)}
    if f"{name}.q_norm.gamma" in t:
        for part, limit in (("q", sat9), ("k", lambda v: sat(v, 8))):
            rows = out[f"{part}_proj"] = saturated(linear(t, f"{name}.{part}", y), 16)
            d = len(rows[0]) // heads
            each = [norm(t, f"{name}.{part}_norm", [row[h * d : (h + 1) * d] for row in rows]) for h in range(heads)]
            out[part] = [[limit(v) for h in range(heads) for v in each[h][i]] for i in range(len(rows))]
    else:
        out |= {"q": operands(linear(t, f"{name}.q", y)), "k": saturated(linear(t, f"{name}.k", y), 8)}
    scale = {p: (int(t[f"{name}.{p}.mult"][0]), int(t[f"{name}.{p}.shift"][0])) for p in ("score", "context")}
    n, d = len(y), len(out["q"][0]) // heads
    out |= {"score": [], "prob": [], "context": [[] for _ in range(n)]}
    for head in range(heads):
        q, k, v = ([row[head * d : (head + 1) * d] for row in out[part]] for part in "qkv")
        mult, shift = scale["score"]
        score = [[sat(rnd(dot(a, b) * mult, shift), 16) for b in k] for a in q]
        p = [prob(row) for row in score]
        mult, shift = scale["context"]
        for i, row in enumerate(p):
            m = 2**24 // sum(row) * mult // 65536
            out["context"][i] += [sat9(rnd(dot(row, [e[c] for e in v]) * m, shift)) for c in range(d)]
        out["score"].append(score)
        out["prob"].append(p)
    return out | addition(t, name.removesuffix(".attn"), 1, x, linear(t, f"{name}.proj", out["context"]), x_shift)


def addition(t: dict[str, Any], layer: str, number: int, x: Matrix, update: Matrix, x_shift: int) -> dict[str, Any]:
    """Of attention (number 1) or MLP (2) to the residual stream; where there is a `stream`, through a norm."""
    made = ("attn", "mlp")[number - 1]
    if f"{layer}.stream{number}.weight" not in t:
        return {made: added(x, update, x_shift)}
    raw = saturated(update, 16)
    y = norm(t, f"{layer}.norm{number}", raw)
    x = added(x, linear(t, f"{layer}.stream{number}", y), x_shift)
    return {("proj", "fc2")[number - 1]: raw, f"norm{number}": y, made: x}


def moe(t: dict[str, Any], name: str, mlp: Any, task: str, x: Matrix, y: Matrix) -> dict[str, Any]:
    logits = saturated(linear(t, f"{name}.gate.{task}", y), 24)
    routes = [route(row, mlp.top_k, mlp.gate) for row in logits]
    out: dict[str, Any] = {"logits": logits, "experts": [r[0] for r in routes], "weights": [r[1] for r in routes]}
    x = [list(row) for row in x]
    for e in range(mlp.experts):
        tokens = [i for i, (winners, _) in enumerate(routes) if e in winners]
        h = hidden(t, f"{name}.experts.{e}", mlp.activation, [y[i] for i in tokens])
        factors = [routes[i][1][routes[i][0].index(e)] for i in tokens]
        for i, row in zip(tokens, linear(t, f"{name}.experts.{e}.fc2", h, factors), strict=True):
            x[i] = added([x[i]], [row])[0]
        out |= {f"expert.{e}.tokens": tokens, f"expert.{e}.hidden": h}
    return out | {"mlp": x}


def means(t: dict[str, Any], name: str, rows: Matrix) -> Matrix:
    mult, shift = int(t[f"{name}.mult"][0]), int(t[f"{name}.shift"][0])
    return [[sat9(rnd(sum(c) * mult, shift)) for c in zip(*rows, strict=True)]]


def pooled(t: dict[str, Any], name: str, kind: str, heads: int, y: Matrix, prefix: int) -> dict[str, Any]:
    """Attention pooling: every query is the constant one, of which there is one row."""
    q = t[f"{name}.q"].tolist()
    k, v = (saturated(linear(t, f"{name}.{part}", y), 8) for part in "kv")
    scale = {p: (int(t[f"{name}.{p}.mult"][0]), int(t[f"{name}.{p}.shift"][0])) for p in ("score", "context")}
    out: dict[str, Any] = {"q": [q], "k": k, "v": v, "score": [], "prob": [], "context": [[]]}
    d = len(q) // heads
    for first in range(0, len(q), d):
        part = slice(first, first + d)
        mult, shift = scale["score"]
        score = [sat(rnd(dot(q[part], row[part]) * mult, shift), 16) for row in k[prefix:]]
        p = prob(score)
        mult, shift = scale["context"]
        m = 2**24 // sum(p) * mult // 65536
        for c in range(first, first + d):
            out["context"][0].append(sat9(rnd(dot(p, [row[c] for row in v[prefix:]]) * m, shift)))
        out["score"].append([score])
        out["prob"].append([p])
    x = out["proj"] = saturated(linear(t, f"{name}.proj", out["context"]), 16)
    out["map_norm"] = norm(t, f"{name}.norm", x)
    out["hidden"] = hidden(t, f"{name}.mlp", kind, out["map_norm"])
    out["mlp"] = added(x, linear(t, f"{name}.mlp.fc2", out["hidden"]))
    if f"{name}.rescale.gamma" in t:
        out["map_rescale"] = norm(t, f"{name}.rescale", out["mlp"])
    return out


def head(t: dict[str, Any], task: Any, prefix: int, x: Matrix, heads: int) -> dict[str, Any]:
    name = f"tasks.{task.name}"
    if task.head == "none":
        y = norm(t, f"{name}.norm", x) if task.norm else x
        return {"output": y} | ({"norm": y} if task.norm else {})
    if task.head == "mean_norm":
        tokens = norm(t, f"{name}.rescale", x)
        mean = means(t, f"{name}.mean", tokens[prefix:])
        pool = saturated(linear(t, f"{name}.pool", mean), 16)
        y = norm(t, f"{name}.norm", pool)
        found = {"rescale": tokens, "mean": mean, "pool": pool, "norm": y}
        return found | {"output": saturated(linear(t, f"{name}.head", y), 16)}
    y = norm(t, f"{name}.{'norm' if task.norm else 'rescale'}", x)
    out: dict[str, Any] = {"norm": y}
    if task.head == "map":
        out |= pooled(t, f"{name}.map", task.mlp.activation, heads, y, prefix)
        if task.outputs is None:
            return out | {"output": out["mlp"]}
        return out | {"output": saturated(linear(t, f"{name}.head", out["map_rescale"]), 16)}
    rows = {"class_token": y[:1], "distillation_token": y[1:2]}.get(task.head, y[prefix:])
    if task.head == "mean":
        rows = out["mean"] = means(t, f"{name}.mean", rows)
    return out | {"output": saturated(linear(t, f"{name}.head", rows), 16)}


def run(description: Description, image: list[list[list[int]]], task_name: str) -> dict[str, Any]:
    """All tensors of one image by the names of docs/description.md, without a batch axis."""
    model = description.model
    t = description.tensors | {"rms_norm": model.rms_norm}
    rows = patches(image, model.patch.height, model.patch.width)
    prefix = int(model.class_token) + int(model.distillation_token) + model.register_tokens
    position = t["position"].tolist()
    x = [*position[:prefix], *added(position[prefix:], linear(t, "embed", rows))]
    rows = [[0] * model.patch_size] * prefix + rows
    out: dict[str, Any] = {"patches": rows, "embed": x}
    if model.norm_pre:
        out["norm_pre"] = norm(t, "norm_pre", x)
        x = out["stream"] = saturated(linear(t, "stream", out["norm_pre"]), 16)
    bits = model.residual_fraction_bits
    bits = bits if isinstance(bits, list) else [bits] * (2 * len(model.layers) + 1)
    for i, layer in enumerate(model.layers):
        name = f"layers.{i}"
        before, between, after = bits[2 * i : 2 * i + 3]
        front = "rescale" if model.post_norm else "norm"
        found: dict[str, Any] = {f"{front}1": norm(t, f"{name}.{front}1", x)}
        found |= attention(t, f"{name}.attn", model.heads, x, found[f"{front}1"], before - between)
        y = found[f"{front}2"] = norm(t, f"{name}.{front}2", found["attn"])
        if layer.mlp.kind == "moe":
            found |= moe(t, f"{name}.moe", layer.mlp, task_name, found["attn"], y)
        else:
            if layer.mlp.gated:
                found["up"], whole = gated(t, f"{name}.mlp", layer.mlp.activation, y)
            else:
                whole = hidden(t, f"{name}.mlp", layer.mlp.activation, y)
            windows = t.get(f"{name}.mlp.activation.windows")
            found["hidden"] = whole if windows is None else cut(whole, windows.tolist())
            update = linear(t, f"{name}.mlp.fc2", whole)
            found |= addition(t, name, 2, found["attn"], update, between - after)
        out |= {f"{name}.{key}": value for key, value in found.items()}
        x = found["mlp"]
    task = next(task for task in model.tasks if task.name == task_name)
    return out | {f"{task_name}.{key}": value for key, value in head(t, task, prefix, x, model.heads).items()}
