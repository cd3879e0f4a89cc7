"""Integer weights of a quantized ONNX graph: which layers have them, with a scale per output channel or one for all.

Whatever form they come in (QDQ, Quant nodes, bits, zero points), they are kept if the weights are such integers times
such scales.
"""

from __future__ import annotations

import numpy as np

from hwgen.importers.common import Imported
from hwgen.importers.onnx_graph import Graph
from hwgen.importers.onnx_layers import Part
from hwgen.network.floatmodel import GivenWeights

#: Largest distance of a weight from an integer times its scale, in steps: the graph's rounding to float32.
TOLERANCE = 0.05
QUANTIZED = ("DequantizeLinear", "Quant", "IntQuant")
ANEW = "they are read as floats, and quantized anew"


class _Refused(Exception):
    """Why the integers of a layer cannot be kept."""


def keep_integers(graph: Graph, parts: list[Part], imported: Imported) -> None:
    """Give the network the scales of the integer weights in the graph; notes and warnings say which."""
    reasons: dict[str, list[str]] = {}
    for part in parts:
        try:
            given = _given(graph, part, imported)
        except _Refused as error:
            reasons.setdefault(str(error), []).append(part.layers[0].name)
        else:
            if given is not None:
                imported.given[part.name] = given
    if imported.given:
        imported.notes.append(f"integer weights of {len(imported.given)} layers are kept as they are in the graph; "
                              "--no-keep-weights quantizes them anew")  # fmt: skip
    for reason, names in reasons.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        imported.warnings.append(f"integer weights of {names[0]}{more} are not kept, {reason}: {ANEW}")


def _given(graph: Graph, part: Part, imported: Imported) -> GivenWeights | None:
    """Of one linear layer; None if its weights are floats."""
    found = [_scales(graph, layer.name, len(layer.weight)) for layer in part.layers]
    if all(one is None for one in found):
        return None
    if any(one is None for one in found):
        raise _Refused("as others of q, k and v beside them are floats")
    scales = np.concatenate([one[0] for one in found if one is not None])
    weights = np.concatenate([layer.weight.reshape(len(layer.weight), -1) for layer in part.layers])
    if part.rows is not None:
        scales, weights = scales[part.rows], weights[part.rows]
    made = imported.tensors[f"{part.name}.w"]
    # What the import multiplied a channel by, as LayerScale.
    size = np.abs(weights).sum(1, dtype=np.float64)
    scales = scales * np.where(size > 0, np.abs(made).sum(1, dtype=np.float64) / np.where(size > 0, size, 1), 1)
    codes = made / scales[:, None].astype(np.float32)
    if np.abs(codes - np.rint(codes)).max() > TOLERANCE:
        raise _Refused("as their scales are not those of output channels")
    low, high = int(np.rint(codes.min())), int(np.rint(codes.max()))
    if max(-low, high) > 127:
        raise _Refused(f"as they are {low} to {high}, and hwgen's -127 to 127")
    if part.name == "embed" and len(set(imported.std)) > 1:
        raise _Refused("as the colours have different standard deviations, which go into the patch embedding's weights")
    few = max(one[1] for one in found if one is not None) <= 4 and max(-low, high) <= 7
    return GivenWeights(scales, 4 if few else 8)


def _scales(graph: Graph, name: str, outputs: int) -> tuple[np.ndarray, int] | None:
    """Scales [outputs] and bits of the integers behind this constant, None if it is of floats."""
    node = graph.producer.get(name)
    while node is not None and node.op_type in ("Transpose", "Identity", "Cast"):
        node = graph.producer.get(node.input[0])
    if node is None or node.op_type not in QUANTIZED:
        return None
    scale = np.abs(graph.values[node.input[1]].astype(np.float64))
    if scale.size not in (1, outputs) or not (scale > 0).all():
        raise _Refused(f"as their scales are {list(scale.shape)}, not one per output channel")
    bits = 8
    if node.op_type != "DequantizeLinear":
        bits = int(np.ceil(graph.values[node.input[3]].reshape(-1)[0]))
    elif graph.values[node.input[0]].dtype.name in ("int4", "uint4", "int2", "uint2"):
        bits = 4
    return np.broadcast_to(scale.reshape(-1), (outputs,)), bits
