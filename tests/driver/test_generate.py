"""What is generated says what the tables say."""

from __future__ import annotations

import ast
import json
import re
import runpy
import zlib
from pathlib import Path

import pytest

from hwgen.build import build
from hwgen.driver.faults import faults
from hwgen.flows.design import Target
from hwgen.machine.devices import find_device
from hwgen.machine.emission import TOP, vlnv
from hwgen.machine.regmap import BY_NAME, COUNTERS, MAGIC, REGISTERS, VERSION, c_header
from hwgen.network import description
from hwgen.rtl import emit
from tests.hollow import hollow_verilog
from tests.random_model import random_description


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build of two models, without Verilog."""
    home = tmp_path_factory.mktemp("generate")
    for seed, name in ((3, "first"), (4, "2nd")):
        desc = random_description(seed)
        named = description.Description(desc.model.model_copy(update={"name": name}), desc.tensors)
        description.save(named, home / name)
    (home / "config.yaml").write_text("models: [first, 2nd]\narray: {t: 4, c: 8, k: 4}\nbatch: 2\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(emit, "accelerator_verilog", hollow_verilog)
        return build(home / "config.yaml", home / "out").path


def test_nothing_is_left_to_fill_in(out: Path) -> None:
    files = [path for path in (out / "driver").rglob("*") if path.is_file()]
    assert len(files) > 20
    listed = json.loads((out / "manifest.json").read_text())["files"]
    for path in files:
        assert path.suffix != ".j2" and not re.search(r"\{\{|\{%", path.read_text()), path
        assert path.relative_to(out).as_posix() in listed


def test_python_of_the_boards(out: Path) -> None:
    """PYNQ 2.7 has Python 3.8."""
    for path in (out / "driver" / "python").rglob("*.py"):
        ast.parse(path.read_text(), feature_version=(3, 8))


def test_register_table(out: Path) -> None:
    found = runpy.run_path(str(out / "driver" / "python" / "hwgen_driver" / "registers.py"))
    assert (found["MAGIC"], found["VERSION"], found["VLNV"]) == (MAGIC, VERSION, vlnv())
    assert found["REGISTERS"] == {register.name: (register.offset, register.bits) for register in REGISTERS}
    assert found["COUNTERS"] == COUNTERS
    for part in BY_NAME["ctrl"].parts:
        assert found[f"CTRL_{part.name.upper()}"] == 1 << part.lsb
    assert (out / "driver" / "c" / "include" / "hwgen_regs.h").read_text() == c_header()


def test_name_of_the_ip(out: Path) -> None:
    """What is packaged and what PYNQ looks for are the same; a prefix of the top module is in it."""
    assert vlnv("mine_hwgen_accelerator") == vlnv().replace(":hwgen_a", ":mine_hwgen_a")
    assert Target(TOP, "", find_device("xczu9eg"), 1).vlnv == vlnv()


def test_exceptions_and_codes(out: Path) -> None:
    found = runpy.run_path(str(out / "driver" / "python" / "hwgen_driver" / "errors.py"))
    header = (out / "driver" / "c" / "include" / "hwgen_tables.h").read_text()
    texts = (out / "driver" / "c" / "src" / "hwgen_tables.c").read_text()
    for fault in faults():
        raised = found[fault.python]
        assert (raised.code, raised.meaning, raised.advice) == (fault.code, fault.meaning, fault.advice)
        assert issubclass(raised, found["DriverError"])
        assert str(raised(7)) == f"{fault.meaning}: {'instruction ' * (fault.code < 256)}7\n  to do: {fault.advice}"
        value = f"HWGEN_ERROR_{fault.name}" if fault.code < 256 else str(fault.code)
        assert re.search(rf"\bHWGEN_(RUN_)?{fault.name} = {value}, /\* {re.escape(fault.meaning)} \*/", header)
        assert texts.count(json.dumps(fault.advice)) >= 1
    assert [found["RUN_ERRORS"][fault.code] for fault in faults() if fault.code < 256] == [
        found[fault.python] for fault in faults() if fault.code < 256
    ]


def test_models_in_c(out: Path) -> None:
    """Numbers of the memory maps, and of each file its size and CRC."""
    text = (out / "driver" / "c" / "src" / "hwgen_models.c").read_text()
    for home in (out, out / "models" / "2nd"):
        known = json.loads((home / "memory_map.json").read_text())
        part = text.split(f"const hwgen_model hwgen_model_{known['model']} = ")[1].split("\n};")[0]
        numbers = {name: int(value) for name, value in re.findall(r"\.(\w+) = (\d+)u,", part)}
        assert numbers["batch"] == known["batch"] == 2 and numbers["input_bytes"] == known["input"]["bytes"]
        assert [numbers[key] for key in ("height", "width", "channels")] == known["input"]["shape"]
        for region in ("program", "weights"):
            data = (home / known[region]["file"]).read_bytes()
            name = (home / known[region]["file"]).relative_to(out)
            assert f'{{ "{name}", {len(data)}u, 0x{zlib.crc32(data):08x}u }}' in part
        tasks = text.split(f"tasks_{known['model']}[] = ")[1].split("\n};")[0]
        for task, entry in known["tasks"].items():
            block = re.sub(r"\s+", " ", tasks.split(f'.name = "{task}"')[1].split("}")[0])
            assert f".entry = {entry['entry']}u, .output_bytes = {entry['output']['bytes']}u," in block
            assert float(re.search(r"\.scale = ([\d.e+-]+)f", block)[1]) == pytest.approx(entry["output"]["scale"] or 0)
