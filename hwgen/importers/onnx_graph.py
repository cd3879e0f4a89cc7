"""An ONNX graph made plain and run once: every tensor's value for one random image, and who makes and reads it.

Half precision becomes float32; what quantizes activations is taken out; operators of onnxruntime's and QONNX's own
domains are computed as they are defined. Tested by tests/importers/test_onnx.py and tests/importers/test_onnx_graph.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hwgen.common.archive import FETCH, LFS, sniff
from hwgen.common.errors import HwgenError
from hwgen.common.strict_yaml import validate
from hwgen.importers.common import ImageSize

#: Of the random pixels, in codes 0..255, where the graph takes floats.
MEAN, STD = 128.0, 64.0
#: Of the images that the graph is run on, all together.
MAX_PIXELS = 1 << 26
#: Colours that an image's last axis may have.
COLOURS = (1, 3)
#: What rounds activations; weights keep theirs.
ROUNDING = ("QuantizeLinear", "DequantizeLinear", "Quant", "IntQuant", "FloatQuant", "Trunc")
#: Operators with integers inside.
INTEGER = ("QLinearMatMul", "QLinearConv", "MatMulInteger", "ConvInteger", "DynamicQuantizeLinear", "QGemm",
           "QAttention", "BipolarQuant", "MatMulNBits")  # fmt: skip
#: Nodes that change no value.
FLAT = ("Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Dropout")
CARRIERS = (*FLAT, "Transpose")


class Graph:
    """`nodes` in order; `values` of all tensors for `images`; `live`: those that depend on the image."""

    def __init__(self, path: Path, size: ImageSize | None) -> None:
        self.where = str(path)
        model, self._constants = self._read(path)
        self._refuse_integers(model)
        _widen(model, self._constants)
        image = self._image(model)
        self.input, shape = image.name, [dim.dim_value for dim in image.type.tensor_type.shape.dim]
        self.codes = image.type.tensor_type.elem_type != 1
        self.channels_last = shape[1] not in COLOURS and shape[3] in COLOURS
        _, channels, height, width = [shape[axis] for axis in ((0, 3, 1, 2) if self.channels_last else range(4))]
        if size is None:
            sides = {"height": self._static(height), "width": self._static(width)}
            size = validate(ImageSize, sides, f"{self.where}: {image.name}")
        self.size = size
        dims = (max(1, shape[0]), self.size.height, self.size.width, self._static(channels))
        if not 0 < math.prod(dims) <= MAX_PIXELS:
            raise HwgenError(self.where, image.name, expected=f"images of at most {MAX_PIXELS:,} values together",
                             found=f"{list(dims)}", mend="export it for fewer or smaller images")  # fmt: skip
        self.images = np.random.default_rng(0).integers(0, 256, dims, dtype=np.uint8)
        self.live = _live(model, self.input)
        for node in model.graph.node:
            if node.op_type in ROUNDING and node.input[0] in self.live:
                _make_identity(node)
            elif node.op_type == "SkipLayerNormalization":  # the sum is needed, too
                names = [*node.output, *[""] * 3][:4]
                del node.output[:]
                node.output.extend(name or f"{names[0]}.{number}" for number, name in enumerate(names))
                self.live.update(node.output)
        self.nodes = list(model.graph.node)
        self.outputs = [output.name for output in model.graph.output]
        self.producer = {name: node for node in self.nodes for name in node.output if name}
        self.consumers: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                self.consumers.setdefault(name, []).append(node)
        self._model = model
        self.values = self.run(self.images)

    def _read(self, path: Path) -> tuple[Any, dict[str, np.ndarray]]:
        """The graph, and what it has of constants beside its nodes."""
        try:
            import onnx
        except ImportError:
            raise HwgenError(self.where, expected="the onnx package, to read this file", found="no such module",
                             mend="pip install 'hwgen[onnx]'") from None  # fmt: skip
        try:
            model, constants = _apart(onnx.load(path))
            for opset in model.opset_import:  # onnxruntime writes this operator into graphs of any version
                if opset.domain in ("", "ai.onnx") and opset.version < 17:
                    if any(node.op_type == "LayerNormalization" for node in model.graph.node):
                        opset.version = 17
            onnx.checker.check_model(model)
        except Exception as error:  # protobuf's, onnx's and the operating system's own
            lost = path.is_file() and sniff(path) == LFS
            found = LFS if lost else (str(error) or type(error).__name__).splitlines()[0]
            mend = FETCH if lost else "export it again"
            raise HwgenError(self.where, expected="a whole ONNX file", found=found, mend=mend) from None
        return model, constants

    def _refuse_integers(self, model: Any) -> None:
        for node in model.graph.node:
            if node.op_type in INTEGER:
                raise HwgenError(self.where, f"node {name_of(node)}", found=node.op_type,
                                 expected="weights and activations that are rounded beside the operators (QDQ, QONNX)",
                                 mend="export the QDQ format, or the float network")  # fmt: skip

    def _image(self, model: Any) -> Any:
        inputs = [one for one in model.graph.input if one.name not in self._constants]
        for one in inputs[1:]:
            raise HwgenError(self.where, one.name, expected=f"one input, the image {inputs[0].name}", found="another",
                             mend="export the network with the image alone as its argument")  # fmt: skip
        kind = inputs[0].type.tensor_type
        shape = [dim.dim_value for dim in kind.shape.dim]
        if len(shape) != 4 or kind.elem_type not in (1, 2):
            raise HwgenError(self.where, inputs[0].name, expected="float32 [batch, channels, height, width]",
                             found=str(shape), mend="export the float32 model")  # fmt: skip
        return inputs[0]

    def _static(self, size: int) -> int:
        if not size:
            raise HwgenError(self.where, expected="an input of fixed size", found="a dynamic one",
                             mend="give --image-size HEIGHTxWIDTH, or export with fixed sizes")  # fmt: skip
        return size

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """All tensors for images uint8 [B, H, W, C]."""
        from onnx.reference import ReferenceEvaluator

        from hwgen.importers.onnx_operators import operators

        pixels = images if self.codes else (images.astype(np.float32) - MEAN) / STD
        pixels = pixels.astype(np.uint8 if self.codes else np.float32)
        fed = pixels if self.channels_last else pixels.transpose(0, 3, 1, 2)
        try:
            with np.errstate(all="ignore"):
                evaluator = ReferenceEvaluator(self._model, new_ops=operators())
                given = {self.input: np.ascontiguousarray(fed)} | self._constants
                return evaluator.run(None, given, intermediate=True)
        except Exception as error:  # whatever an operator makes of wrong inputs
            raise HwgenError(self.where, expected="a graph that ONNX's reference evaluator can run",
                             found=(str(error) or type(error).__name__).splitlines()[0],
                             mend="export it again for images of this size") from None  # fmt: skip

    def constants(self, node: Any) -> list[np.ndarray]:
        """Inputs of a node that do not depend on the image."""
        return [self.values[name] for name in node.input if name and name not in self.live]

    def data(self, node: Any) -> list[str]:
        """Inputs of a node that do."""
        return [name for name in node.input if name in self.live]

    def made_by(self, tensor: str) -> Any:
        """The node whose result this is, behind those that change no value; None for the image."""
        node = self.producer.get(tensor)
        while node is not None and node.op_type in CARRIERS and node.input:
            node = self.producer.get(node.input[0])
        return node

    def source(self, tensor: str) -> str:
        """The tensor that this is, before what changes no value."""
        while (node := self.producer.get(tensor)) is not None and node.op_type in CARRIERS:
            tensor = node.input[0]
        return tensor

    def readers(self, tensor: str) -> Iterator[Any]:
        """The nodes that read a tensor, behind those that change no value."""
        for node in self.consumers.get(tensor, ()):
            if node.op_type in FLAT:
                yield from self.readers(node.output[0])
            else:
                yield node

    def follow(self, tensor: str, op: str, size: int) -> tuple[Any, np.ndarray] | None:
        """The node of this kind that combines the tensor with a constant vector of this size, and the vector."""
        for node in self.readers(tensor):
            if node.op_type == op and len(self.data(node)) == 1:
                for constant in self.constants(node):
                    if constant.size == size and max(constant.shape, default=0) == size:
                        return node, constant.reshape(-1)
        return None


def name_of(node: Any) -> str:
    """For messages."""
    return str(node.name or node.output[0])


def _live(model: Any, image: str) -> set[str]:
    """Tensors computed from the image's values; shapes are constants."""
    live = {image}
    for node in model.graph.node:
        if node.op_type not in ("Shape", "Size") and live.intersection(_inputs(node)):
            live.update(node.output)
    return live


def _inputs(node: Any) -> Iterator[str]:
    """Also those that the graphs inside a node read."""
    yield from node.input
    for attribute in node.attribute:
        for inside in attribute.g.node:
            yield from _inputs(inside)


def _make_identity(node: Any) -> None:
    del node.input[1:], node.output[1:], node.attribute[:]
    node.op_type, node.domain = "Identity", ""


def _apart(model: Any) -> tuple[Any, dict[str, np.ndarray]]:
    """The graph with its constants as inputs, and their values: of the file's size once, where the evaluator, the
    checker and the messages themselves would each keep them."""
    import onnx

    inputs = {one.name for one in model.graph.input}
    constants = {}
    for one in model.graph.initializer:
        constants[one.name] = onnx.numpy_helper.to_array(one)
        if one.name not in inputs:
            model.graph.input.append(onnx.helper.make_tensor_value_info(one.name, one.data_type, list(one.dims)))
    del model.graph.initializer[:]
    bare = onnx.ModelProto()
    bare.CopyFrom(model)  # a message keeps what was deleted from it as long as it lives
    return bare, constants


def _widen(model: Any, constants: dict[str, np.ndarray]) -> None:
    """Half and double precision become float32."""
    from onnx import TensorProto, numpy_helper

    narrow = (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
    for name, values in constants.items():
        if values.dtype.name in ("float16", "bfloat16", "float64"):
            constants[name] = values.astype(np.float32)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t") and attribute.t.data_type in narrow:
                values = np.asarray(numpy_helper.to_array(attribute.t)).astype(np.float32)
                attribute.t.CopyFrom(numpy_helper.from_array(values, attribute.t.name))
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i in narrow:
                attribute.i = TensorProto.FLOAT
    for one in [*model.graph.input, *model.graph.output]:
        if one.type.tensor_type.elem_type in narrow:
            one.type.tensor_type.elem_type = TensorProto.FLOAT
    del model.graph.value_info[:]
