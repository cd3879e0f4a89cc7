"""`config.yaml` of `hwgen build`: which models, which array, which buffers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from hwgen import compiler
from hwgen.common.beside import beside
from hwgen.common.errors import HwgenError
from hwgen.common.strict_yaml import Strict, read_yaml, validate
from hwgen.machine.devices import Device, find_device
from hwgen.machine.emission import Emission
from hwgen.machine.params import BUS_BITS, PORT_BITS, PORTS, HwParams
from hwgen.network import description
from hwgen.network.description import Description

__all__ = ["Buffers", "Config", "Project", "check_device", "is_config", "load_project", "make_project", "read_config"]


#: Share of a device's memory that buffers may take: words are narrower than block RAMs, and the units need some.
FILLED = 0.8
#: Images one run of a program may handle; buffers grow with them.
MAX_BATCH = 64


class Array(Strict):
    """T rows (tokens), C columns (output channels), K lanes: powers of two; and what the FPGA multiplies with."""

    t: int = 8
    c: int = 16
    k: int = 8
    multiplier_bits: int = 27


class Buses(Strict):
    """Data widths of the AXI masters in bits: of each of the `weight_ports` (gmem0, gmem2, ...), and of gmem1 (program,
    images, outputs)."""

    weights: int = 256
    data: int = 128
    weight_ports: int = 1

    @property
    def weight_bus(self) -> int:
        """Of all weight ports together."""
        return self.weights * self.weight_ports


class Axi(Strict):
    """What the AXI masters may do and say: beats of the longest burst, bits of their IDs, AxCACHE, AxPROT."""

    burst: int = HwParams.max_burst
    id_bits: int = HwParams.id_bits
    cache: int = HwParams.axi_cache
    prot: int = HwParams.axi_prot


class Rtl(Strict):
    """How the Verilog is written; see `Emission`."""

    prefix: str = Emission.prefix
    debug: bool = Emission.debug
    ram_init: bool = Emission.ram_init


def _kilobytes(value: object) -> object:
    """`3000 KB`, `3 MB`; a number is in KB."""
    found = re.fullmatch(r"(\d+) *(KB|MB)", value) if isinstance(value, str) else None
    if isinstance(value, str) and not found:
        raise PydanticCustomError("on_chip", "a size such as `3000 KB`")
    return int(found[1]) * (1024 if found[2] == "MB" else 1) if found else value


class Buffers(Strict):
    """Sizes that are to differ from what the models need; see `HwParams`."""

    x_depth: int | None = None
    y_depth: int | None = None
    h_depth: int | None = None
    k_depth: int | None = None
    v_depth: int | None = None
    max_tokens: int | None = None
    weight_depth: int | None = None
    norm_depth: int | None = None
    max_experts: int | None = None
    max_topk: int | None = None
    instruction_queue: int | None = None
    on_chip: Annotated[int | None, BeforeValidator(_kilobytes)] = None  #: KB of all of them: else as the device has

    @property
    def sizes(self) -> dict[str, Any]:
        """Those of `HwParams` that were given."""
        return self.model_dump(exclude_none=True, exclude={"on_chip"})


def _auto(value: object) -> object:
    """`auto` is the mapping that changes nothing."""
    if value != "auto" and not isinstance(value, dict | Buffers):
        raise PydanticCustomError("buffers", "`auto` or a mapping of sizes")
    return {} if value == "auto" else value


def _files(value: object) -> object:
    """A file name, or several by the name of a model."""
    parts = value if isinstance(value, dict) else {"": value}
    if value is not None and not all(isinstance(part, str) for pair in parts.items() for part in pair):
        raise PydanticCustomError("files", "a file, or a mapping of the models' names to files")
    return value


Backend = Literal["amaranth", "hls"]


def _backends(value: list[Backend]) -> list[Backend]:
    """The RTL is in every build: drivers, scripts and simulations rest on it."""
    if "amaranth" not in value or len(set(value)) < len(value):
        raise PydanticCustomError("backends", "[amaranth] or [amaranth, hls]")
    return value


class Config(Strict):
    """The whole of `config.yaml`; paths are relative to it."""

    model: str | None = None
    models: Annotated[list[str], Field(min_length=1)] | None = None
    array: Array = Array()
    buses: Buses = Buses()
    axi: Axi = Axi()
    rtl: Rtl = Rtl()
    buffers: Annotated[Buffers, BeforeValidator(_auto)] = Buffers()
    batch: Annotated[int, Field(ge=1, le=MAX_BATCH)] = 1
    clear: bool = False  #: with a program that clears the buffers
    backends: Annotated[list[Backend], AfterValidator(_backends)] = ["amaranth"]
    images: Annotated[dict[str, str] | str | None, BeforeValidator(_files)] = None  #: by model; one: the first's
    device: str | None = None

    @property
    def paths(self) -> list[str]:
        return self.models or ([self.model] if self.model else [])


@dataclass(frozen=True)
class Project:
    """A checked configuration: the models loaded, the accelerator's parameters decided."""

    config: Config
    path: Path
    models: tuple[Description, ...]  #: the first is the one compiled by default
    params: HwParams
    emission: Emission
    images: Mapping[str, Path]  #: by name of the model
    device: Device | None = None  #: what it is for, if the configuration says so
    text: str | None = None  #: `config.yaml` of a build, where it is not the file at `path`

    def model(self, name: str | None) -> Description:
        """The model of this name; None: the default."""
        names = [desc.model.name for desc in self.models]
        if name is not None and name not in names:
            raise HwgenError(str(self.path), "model", expected=" or ".join(names), found=name)
        return self.models[names.index(name) if name else 0]

    def resized(self, t: int, c: int, k: int, weight_depth: int | None = None) -> HwParams:
        """Of the same configuration with another array, or another ring. Raises HwgenError if the models do not fit."""
        buffers = self.config.buffers
        if weight_depth is not None:
            buffers = buffers.model_copy(update={"weight_depth": weight_depth})
        array = self.config.array.model_copy(update={"t": t, "c": c, "k": k})
        config = self.config.model_copy(update={"array": array, "buffers": buffers})
        return _params(config, self.models, self.path)

    def with_config(self, config: Config) -> HwParams:
        """Of another configuration of the same models. Raises HwgenError if it cannot be, or they do not fit."""
        return _params(config, self.models, self.path)


#: Where in `config.yaml` a parameter of `HwParams` comes from.
_KEYS = {name: f"array.{name}" for name in Array.model_fields} | {
    "weight_bus": "buses.weights", "data_bus": "buses.data", "weight_ports": "buses.weight_ports",
    "max_burst": "axi.burst", "id_bits": "axi.id_bits", "axi_cache": "axi.cache", "axi_prot": "axi.prot",
}  # fmt: skip


def is_config(path: Path) -> bool:
    """Whether this is a configuration, and not a description."""
    document = read_yaml(path) if path.is_file() else None
    return isinstance(document, dict) and not document.keys().isdisjoint(("model", "models"))


def load_project(path: Path) -> Project:
    """Read and check `config.yaml` and everything it names. Raises HwgenError naming file and key."""
    return make_project(read_config(path), path)


def read_config(path: Path) -> Config:
    """The configuration alone, nothing of what it names. Raises HwgenError naming file and key."""
    described = (path / description.MODEL_FILE).is_file()
    document = None if described else read_yaml(path)
    if described or (isinstance(document, dict) and document.get("format") == "hwgen-model"):
        raise HwgenError(str(path), expected="a config.yaml", found="a quantized description",
                         mend="say which array, too: --preset medium (docs/config.md)")  # fmt: skip
    config = validate(Config, document, str(path))
    if (config.model is None) == (config.models is None):
        raise HwgenError(
            str(path),
            "model",
            expected="either `model` or `models`",
            found="both" if config.model else "neither",
            mend="see docs/config.md",
        )
    return config


def make_project(config: Config, path: Path) -> Project:
    """Load and check everything a configuration names, as if it stood in the file `path`: errors name that."""
    key = "models" if config.models else "model"
    models = tuple(description.load(beside(path, key, name)) for name in config.paths)
    _check_names(models, path)
    images = _images(config, models, path)
    params = _params(config, models, path)
    device = _device(config, path)
    if device is not None:
        check_device(params, device, str(path))
    return Project(config, path, models, params, _emission(config, path), images, device)


def _check_names(models: tuple[Description, ...], path: Path) -> None:
    """Raises HwgenError unless each model has a name of its own: by it `hwgen sim` and the directories know it."""
    name, count = Counter(desc.model.name for desc in models).most_common(1)[0]
    if count > 1:
        places = [str(desc.path) for desc in models if desc.model.name == name]
        same = len(set(places)) < count
        raise HwgenError(
            str(path), "models", expected="models of different names",
            found=f"`{name}` {count} times: {', '.join(places)}",
            mend="name each once" if same else "change the `name` in one model.yaml, or quantize it again with --name",
        )  # fmt: skip


def _images(config: Config, models: tuple[Description, ...], path: Path) -> dict[str, Path]:
    """The archive of each model that has one."""
    names = [desc.model.name for desc in models]
    given = config.images or {}
    if isinstance(given, str):
        given = {names[0]: given}
    for name in given.keys() - set(names):
        raise HwgenError(str(path), f"images.{name}", expected=" or ".join(names), found=name)
    found = {name: beside(path, "images", file) for name, file in given.items()}
    for file in found.values():
        if not file.is_file():
            raise HwgenError(
                str(path),
                "images",
                expected="an .npz file with `images` (and `labels`)",
                found=f"no file {file}",
                mend="correct the path, or leave the key out",
            )
    return found


def _device(config: Config, path: Path) -> Device | None:
    return find_device(config.device, str(path), "device") if config.device else None


def _emission(config: Config, path: Path) -> Emission:
    try:
        return Emission(**config.rtl.model_dump())
    except HwgenError as error:
        raise HwgenError(str(path), f"rtl.{error.key}", expected=error.expected, found=error.found) from None


def check_device(p: HwParams, device: Device, where: str) -> None:
    """Raises HwgenError if the array multiplies wider numbers than the device."""
    if p.multiplier_bits > device.multiplier_bits:
        raise HwgenError(
            where, "array.multiplier_bits", expected=f"{device.multiplier_bits}: the multipliers of {device.name}",
            found=f"{p.multiplier_bits}, for two tokens in one multiplier",
            mend=f"write `array: {{..., multiplier_bits: {device.multiplier_bits}}}`: a multiplier per token",
        )  # fmt: skip


def _params(config: Config, models: tuple[Description, ...], path: Path) -> HwParams:
    array, buses, axi, device = config.array, config.buses, config.axi, _device(config, path)
    try:
        # The shape alone first, so that its errors do not come from sizing buffers.
        widths: dict[str, Any] = {"weight_bus": buses.weight_bus, "weight_ports": buses.weight_ports}
        widths["data_bus"] = buses.data
        HwParams(t=array.t, c=array.c, k=array.k, **widths)
        budget = _budget(config.buffers, device)
        p = compiler.auto_params(models, array.t, array.c, array.k, batch=config.batch, on_chip=budget, **widths)
        p = replace(
            p, multiplier_bits=array.multiplier_bits, max_burst=axi.burst, id_bits=axi.id_bits, axi_cache=axi.cache,
            axi_prot=axi.prot, ultra_ram=device is not None and device.uram > 0,
            **config.buffers.sizes,
        )  # fmt: skip
    except HwgenError as error:
        if error.key == "on_chip":
            key = "buffers.on_chip" if config.buffers.on_chip else "device"
            raise HwgenError(str(path), key, expected=error.expected, found=error.found, mend=error.mend) from None
        if error.where != "array parameters":
            raise
        if error.key in ("weight_bus", "weight_ports") and buses.weight_ports in PORTS[1:]:
            raise _port_width(path, buses) from None
        key = _KEYS.get(error.key, f"buffers.{error.key}")
        given = config.buffers.model_dump().get(error.key) is not None or error.key in _KEYS
        found, mend = error.found, error.mend
        if config.batch > 1 and not given:
            found, mend = f"{found}, what `batch: {config.batch}` needs", "lower `batch`"
        raise HwgenError(str(path), key, expected=error.expected, found=found, mend=mend) from None
    for model in models:
        try:
            compiler.check_fits(model, p, batch=config.batch)
        except HwgenError as error:
            keys = ", ".join(f"buffers.{name}" for name in error.key.split(", "))
            raise HwgenError(
                str(path),
                keys,
                expected=error.expected,
                found=error.found,
                mend="enlarge them, or write `buffers: auto`" + ", or lower `batch`" * (config.batch > 1),
            ) from None
    return p


def _budget(buffers: Buffers, device: Device | None) -> int | None:
    """Bytes that all buffers may take: as the configuration says, or as the device has."""
    if buffers.on_chip is not None:
        return 1024 * buffers.on_chip
    return int(FILLED * device.memory_bytes) if device else None


def _port_width(path: Path, buses: Buses) -> HwgenError:
    low, high = (bits // buses.weight_ports for bits in BUS_BITS)
    return HwgenError(
        str(path),
        "buses.weights",
        expected=f"a power of two from {max(low, PORT_BITS)} to {high}: bits of each of the {buses.weight_ports} ports",
        found=repr(buses.weights),
        mend=f"all ports together have {BUS_BITS[0]} to {BUS_BITS[1]} bits; change `weights` or `weight_ports`",
    )
