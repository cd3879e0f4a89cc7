"""A Vision Transformer of timm exported to ONNX: weights by the order of the nodes, then every block compared.

The graph's convolution, LayerNorms and linear layers must come in the order of a ViT. What lies between them is written
differently by each exporter, so it is compared by value: ONNX's reference evaluator runs the graph on a random image,
and the imported network must compute the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwgen.common.errors import HwgenError
from hwgen.importers.beside import stated
from hwgen.importers.common import Draft, ImageSize, Imported, Overrides
from hwgen.importers.source import Source
from hwgen.importers.timm import import_timm
from hwgen.network.floatmodel import FloatModel

NORM, LINEAR = "LayerNormalization", "linear layer"
#: Weighted layers of a block: timm's name, kind.
BLOCK = (("norm1", NORM), ("attn.qkv", LINEAR), ("attn.proj", LINEAR),
         ("norm2", NORM), ("mlp.fc1", LINEAR), ("mlp.fc2", LINEAR))  # fmt: skip
#: Largest difference of a value, as a share of the tensor's largest.
TOLERANCE = 1e-3
#: Of the comparison's pixels, in codes 0..255.
MEAN, STD = 128.0, 64.0


def load_onnx(path: Path, overrides: Overrides) -> Imported:
    """The network of an ONNX file; another network's graph raises HwgenError with the first node that differs."""
    graph = _Graph(path, overrides.image_size)
    state = graph.state_dict()
    pooling = "token" if "cls_token" in state and "fc_norm.weight" not in state else "avg"
    # What the graph states or the comparison shows.
    found = {"heads": graph.heads(), "image_size": graph.size, "layer_norm_eps": graph.epsilon(), "activation": "gelu",
             "pooling": pooling}  # fmt: skip
    filled = {key: value for key, value in found.items() if getattr(overrides, key) is None}
    if overrides.head_dim is not None:
        del filled["heads"]
    beside = stated(path)
    known, notes, warnings = beside.fill(overrides.model_copy(update=filled))
    draft = Draft(str(path), "onnx", known, beside, notes=notes, warnings=warnings)
    imported = import_timm(Source(state, str(path)), draft)
    graph.compare(imported)
    return imported


@dataclass
class _Layer:
    """A node with weights: its kind, which input is the data, and the constant ones' values."""

    node: Any
    kind: str
    data: str
    weights: list[np.ndarray]


class _Graph:
    """An ONNX graph, and the values of all its tensors for one random image."""

    def __init__(self, path: Path, size: ImageSize | None) -> None:
        self.where = str(path)
        model = self._read(path)
        self.nodes = list(model.graph.node)
        self.output = model.graph.output[0].name
        shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
        if len(shape) != 4 or model.graph.input[0].type.tensor_type.elem_type != 1:
            raise HwgenError(self.where, model.graph.input[0].name, expected="float32 [batch, channels, height, width]",
                             found=str(shape), mend="export the float32 model")  # fmt: skip
        self.size = size or ImageSize(height=self._static(shape[2]), width=self._static(shape[3]))
        dims = (max(1, shape[0]), self.size.height, self.size.width, self._static(shape[1]))
        self.images = np.random.default_rng(0).integers(0, 256, dims, dtype=np.uint8)
        self.values = self._run(model)
        self.live = self._depend_on(model.graph.input[0].name)
        self.layers = [layer for node in self.nodes if (layer := self._layer(node))]
        self.names = self._name_layers()

    def _read(self, path: Path) -> Any:
        try:
            import onnx
        except ImportError:
            raise HwgenError(self.where, expected="the onnx package, to read this file", found="no such module",
                             mend="pip install 'hwgen[onnx]'") from None  # fmt: skip
        try:
            model = onnx.load(path)
            onnx.checker.check_model(model)
        except Exception as error:  # protobuf's, onnx's and the operating system's own
            found = (str(error) or type(error).__name__).splitlines()[0]
            raise HwgenError(self.where, expected="a whole ONNX file", found=found, mend="export it again") from None
        return model

    def _static(self, size: int) -> int:
        if not size:
            raise HwgenError(self.where, expected="an input of fixed size", found="a dynamic one",
                             mend="give --image-size HEIGHTxWIDTH, or export with fixed sizes")  # fmt: skip
        return size

    def _run(self, model: Any) -> dict[str, np.ndarray]:
        from onnx.reference import ReferenceEvaluator

        pixels = ((self.images.astype(np.float32) - MEAN) / STD).transpose(0, 3, 1, 2)
        try:
            return ReferenceEvaluator(model).run(None, {model.graph.input[0].name: pixels}, intermediate=True)
        except Exception as error:  # whatever an operator makes of wrong inputs
            raise HwgenError(self.where, expected="a graph that ONNX's reference evaluator can run",
                             found=(str(error) or type(error).__name__).splitlines()[0],
                             mend="export it again for images of this size") from None  # fmt: skip

    def _depend_on(self, name: str) -> set[str]:
        """Tensors computed from the input's values; shapes are constants."""
        live = {name}
        for node in self.nodes:
            if node.op_type != "Shape" and live.intersection(node.input):
                live.update(node.output)
        return live

    def _layer(self, node: Any) -> _Layer | None:
        constants = [self.values[name] for name in node.input if name and name not in self.live]
        data = [name for name in node.input if name in self.live]
        if len(data) != 1 or not constants:
            return None
        if node.op_type in ("Conv", NORM):
            return _Layer(node, node.op_type, data[0], constants)
        if node.op_type not in ("MatMul", "Gemm") or constants[0].ndim != 2:
            return None
        turned = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        return _Layer(node, LINEAR, data[0], [constants[0] if turned else constants[0].T, *constants[1:]])

    def _name_layers(self) -> list[str]:
        """timm's name of every layer; the first out of order is an error."""
        blocks = max(1, (len(self.layers) - 2) // len(BLOCK))
        expected = [("patch_embed.proj", "Conv")]
        expected += [(f"blocks.{index}.{name}", kind) for index in range(blocks) for name, kind in BLOCK]
        expected += [("norm", NORM), ("head", LINEAR), ("head_dist", LINEAR)]
        for (name, kind), layer in zip(expected, self.layers):
            if layer.kind != kind:
                raise self._differs(layer.node, f"the {kind} {name} of a ViT")
        if len(self.layers) < len(expected) - 2:
            name, kind = expected[len(self.layers)]
            raise HwgenError(self.where, expected=f"the {kind} {name} of a ViT", found="the end of the graph",
                             mend="export the whole model with opset 17 or later")  # fmt: skip
        names = [name for name, _ in expected[: len(self.layers)]]
        final = names.index("norm")
        if self._produced_by(self.layers[final].data).op_type == "ReduceMean":
            names[final] = "fc_norm"
        return names

    def _differs(self, node: Any, expected: str) -> HwgenError:
        mend = "plain Vision Transformers of timm are supported, exported with opset 17 or later"
        return HwgenError(self.where, f"node {node.name or node.output[0]}", expected=expected, found=node.op_type,
                          mend=mend)  # fmt: skip

    def _produced_by(self, tensor: str) -> Any:
        return next(node for node in self.nodes if tensor in node.output)

    def heads(self) -> int | None:
        """From the reshape of q, k and v to [batch, tokens, 3, heads, head_dim]."""
        for node in self.nodes:
            shape = self.values[node.output[0]].shape
            if node.op_type == "Reshape" and len(shape) == 5 and shape[2] == 3:
                return int(shape[3])
        return None

    def epsilon(self) -> float:
        """Of the LayerNorms."""
        found = {self._epsilon(layer.node): layer.node for layer in self.layers if layer.kind == NORM}
        first, *others = found
        if others:
            raise self._differs(found[others[0]], f"LayerNorms of one epsilon, {first:g}")
        return first

    @staticmethod
    def _epsilon(node: Any) -> float:
        """Without the noise of the graph's float32."""
        return next((float(f"{one.f:.6g}") for one in node.attribute if one.name == "epsilon"), 1e-5)

    def state_dict(self) -> dict[str, np.ndarray]:
        """The weights by timm's names."""
        state: dict[str, np.ndarray] = dict(self._embedding())
        for name, layer in zip(self.names, self.layers):
            state[f"{name}.weight"] = layer.weights[0]
            if len(layer.weights) > 1:
                state[f"{name}.bias"] = layer.weights[1]
            elif layer.kind == NORM:
                state[f"{name}.bias"] = np.zeros_like(layer.weights[0])
            following = self._follow(layer.node.output[0], "Add")
            if layer.node.op_type == "MatMul" and following:
                state[f"{name}.bias"] = following[1]
                layer = _Layer(following[0], LINEAR, "", [])
            scaled = self._follow(layer.node.output[0], "Mul") if layer.kind == LINEAR else None
            if scaled:
                block, part = name.rsplit(".", 2)[0], "ls1" if name.endswith("proj") else "ls2"
                state[f"{block}.{part}.gamma"] = scaled[1]
        return state

    def _embedding(self) -> Iterator[tuple[str, np.ndarray]]:
        """Tokens before the patches and the position embedding, between the convolution and the first norm."""
        first = self.nodes.index(self.layers[1].node)
        for node in self.nodes[:first]:
            constants = [self.values[name] for name in node.input if name not in self.live]
            if not self.live.intersection(node.output) or not constants:
                continue
            if node.op_type == "Concat":
                rows = np.concatenate(constants, 1)[:1]
                yield from zip(("cls_token", "dist_token"), np.split(rows, rows.shape[1], 1))
            elif node.op_type == "Add":
                yield "pos_embed", constants[0]

    def _follow(self, tensor: str, op: str) -> tuple[Any, np.ndarray] | None:
        """The node of this kind that combines the tensor with a vector, and the vector."""
        for node in self.nodes:
            if tensor in node.input and node.op_type == op:
                for name in node.input:
                    if name not in self.live and self.values[name].ndim == 1:
                        return node, self.values[name]
        return None

    def compare(self, imported: Imported) -> None:
        """Raise HwgenError unless the network computes the values of the graph."""
        model, channels = imported.model, imported.model.image.channels
        network = FloatModel(model, imported.tensors, eps=imported.eps, mean=[MEAN] * channels, std=[STD] * channels)
        seen: dict[str, np.ndarray] = {}
        outputs = [network.run(self.images, task.name, seen.__setitem__) for task in model.tasks]
        inputs = [layer.data for layer in self.layers[1:]]
        for index in range(len(model.layers)):
            norm1, _, proj, norm2, _, fc2 = inputs[len(BLOCK) * index : len(BLOCK) * (index + 1)]
            for tensor, name in (
                (norm1, f"layers.{index - 1}.mlp" if index else "embed"),
                (proj, f"layers.{index}.context"),
                (norm2, f"layers.{index}.attn"),
                (fc2, f"layers.{index}.hidden"),
            ):
                self._same(tensor, seen[name], name)
        output = np.mean(outputs, 0)
        self._same(self.output, output if self.values[self.output].ndim == 3 else output[:, 0], "the output")

    def _same(self, tensor: str, wanted: np.ndarray, name: str) -> None:
        found = self.values[tensor]
        if found.shape != wanted.shape or np.abs(found - wanted).max() > TOLERANCE * np.abs(wanted).max():
            raise self._differs(self._produced_by(tensor), f"the values of {name} in a ViT with these weights")
