"""`component.xml` read back with ipyxact, `kernel.xml`: against the register table and the emitted ports."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from ipyxact.ipyxact import Component

from hwgen.flows.design import DEBUG
from hwgen.flows.ipxact import BLOCK, RANGE, kernel_xml
from hwgen.machine.params import HwParams
from hwgen.machine.regmap import ADDRESS_BITS, REGISTERS
from tests.flows.helpers import BUILD_HASH, hollow_design, needs_tclsh, run_vivado

SPIRIT = "{http://www.spiritconsortium.org/XMLSchema/SPIRIT/1685-2009}"


def component(path: Path) -> Component:
    read = Component()
    read.load(str(path))
    return read


def registers(read: Component) -> dict[str, dict]:
    [memory_map] = read.memoryMaps.memoryMap
    [block] = memory_map.addressBlock
    assert (memory_map.name, block.name, block.baseAddress, block.range, block.width) == (
        "s_axi_control", BLOCK, 0, RANGE, 32,
    )  # fmt: skip
    return {
        register.name: {
            "offset": register.addressOffset, "size": register.size, "access": register.access,
            "doc": register.description,
            "fields": {
                field.name: (field.bitOffset, field.bitWidth, field.access, field.description)
                for field in register.field
            },
        }
        for register in block.register
    }  # fmt: skip


def interfaces(read: Component) -> dict[str, dict[str, str]]:
    return {
        bus.name: {one.logicalPort.name: one.physicalPort.name for one in bus.portMaps.portMap}
        for bus in read.busInterfaces.busInterface
    }


def parameters(path: Path) -> dict[tuple[str, str], str]:
    """Of bus interfaces, which ipyxact does not read."""
    return {
        (bus.findtext(f"{SPIRIT}name"), one.findtext(f"{SPIRIT}name")): one.findtext(f"{SPIRIT}value")
        for bus in ET.parse(path).iter(f"{SPIRIT}busInterface")
        for one in bus.iter(f"{SPIRIT}parameter")
    }


def test_registers_are_those_of_the_table(hollow):
    found = registers(component(hollow / "vivado/ip/component.xml"))
    for register in REGISTERS:
        names = [register.name] if register.words == 1 else [f"{register.name}_lo", f"{register.name}_hi"]
        for word, name in enumerate(names):
            entry = found.pop(name)
            assert (entry["offset"], entry["size"], entry["doc"]) == (register.offset + 4 * word, 32, register.doc)
            assert entry["access"] == ("read-only" if register.access in ("ro", "const") else "read-write")
            assert entry["offset"] + 4 <= min(RANGE, 1 << ADDRESS_BITS)
            if register.parts:
                spans = {part.name: (part.lsb, part.bits) for part in register.parts}
            else:
                spans = {name: (0, min(register.bits - 32 * word, 32))}
            assert {field: place[:2] for field, place in entry["fields"].items()} == spans
    assert not found


def test_what_reading_and_writing_does(hollow):
    root = ET.parse(hollow / "vivado/ip/component.xml")
    effects = {}
    for register in root.iter(f"{SPIRIT}register"):
        for field in register.iter(f"{SPIRIT}field"):
            about = [field.findtext(f"{SPIRIT}{tag}") for tag in ("access", "readAction", "modifiedWriteValue")]
            effects[register.findtext(f"{SPIRIT}name"), field.findtext(f"{SPIRIT}name")] = about
    assert effects["ctrl", "start"] == ["read-write", None, None]
    assert effects["ctrl", "done"] == effects["ctrl", "ready"] == ["read-only", "clear", None]
    assert effects["ctrl", "idle"] == ["read-only", None, None]
    assert effects["isr", "done"] == ["read-write", None, "oneToToggle"]
    assert effects["error_code", "error_code"] == ["read-write", None, "clear"]
    assert effects["cycles_hi", "cycles_hi"] == ["read-only", None, None]


def test_ports_and_interfaces(hollow, design):
    path = hollow / "vivado/ip/component.xml"
    read = component(path)
    # ipyxact reads no vectors of this version of the standard.
    lefts = {
        port.findtext(f"{SPIRIT}name"): int(port.findtext(f"{SPIRIT}wire/{SPIRIT}vector/{SPIRIT}left") or 0)
        for port in ET.parse(path).iter(f"{SPIRIT}port")
    }
    ports = {port.name: (port.wire.direction, lefts[port.name] + 1) for port in read.model.ports.port}
    assert ports == {port.name: ("out" if port.output else "in", port.bits) for port in design.ports}
    maps = interfaces(read)
    assert maps == {interface.name: dict(interface.maps) for interface in design.interfaces}
    mapped = [port for one in maps.values() for port in one.values()]
    assert len(mapped) == len(set(mapped))
    assert {port for port in ports if not port.startswith(DEBUG)} == set(mapped)
    types = {
        bus.name: (bus.busType.vendor, bus.busType.library, bus.busType.name) for bus in read.busInterfaces.busInterface
    }
    assert types["m_axi_gmem0"] == types["s_axi_control"] == ("xilinx.com", "interface", "aximm")
    assert types["interrupt"] == ("xilinx.com", "signal", "interrupt")
    facts = parameters(path)
    assert facts["ap_clk", "ASSOCIATED_BUSIF"] == "m_axi_gmem0:m_axi_gmem1:s_axi_control"
    assert facts["ap_clk", "ASSOCIATED_RESET"] == "ap_rst_n"
    assert facts["ap_rst_n", "POLARITY"] == "ACTIVE_LOW"
    assert facts["interrupt", "SENSITIVITY"] == "LEVEL_HIGH"


def test_references_resolve(hollow, design):
    home = hollow / "vivado/ip"
    root = ET.parse(home / "component.xml").getroot()
    spaces = [space.findtext(f"{SPIRIT}name") for space in root.iter(f"{SPIRIT}addressSpace")]
    assert spaces == [master.name for master in design.masters]
    assert [space.get(f"{SPIRIT}addressSpaceRef") for space in root.iter(f"{SPIRIT}addressSpaceRef")] == spaces
    assert [one.get(f"{SPIRIT}memoryMapRef") for one in root.iter(f"{SPIRIT}memoryMapRef")] == ["s_axi_control"]
    sets = [one.findtext(f"{SPIRIT}name") for one in root.iter(f"{SPIRIT}fileSet")]
    assert sorted(one.findtext(f"{SPIRIT}localName") for one in root.iter(f"{SPIRIT}fileSetRef")) == sorted(sets)
    files = [one.findtext(f"{SPIRIT}name") for one in root.iter(f"{SPIRIT}file")]
    assert len(files) == 4 and all((home / file).is_file() for file in files)
    values = {
        one.findtext(f"{SPIRIT}name"): one.findtext(f"{SPIRIT}value")
        for one in root.find(f"{SPIRIT}parameters").iter(f"{SPIRIT}parameter")
    }
    assert values.pop("Component_Name") == design.top and values.pop("BUILD_HASH") == f"0x{BUILD_HASH:016X}"
    assert values == {name.upper(): str(int(value)) for name, value in design.params.as_dict().items()}


@needs_tclsh
def test_the_packager_makes_the_same(hollow):
    """What package_ip.tcl tells Vivado is what the ready component.xml says."""
    done = run_vivado(hollow, "package_ip.tcl")
    assert done.returncode == 0, done.stderr
    ready, packaged = hollow / "vivado/ip/component.xml", hollow / "vivado/build/ip/component.xml"
    one, other = component(ready), component(packaged)
    assert (one.vendor, one.library, one.name, one.version) == (other.vendor, other.library, other.name, other.version)
    assert registers(one) == registers(other)
    assert interfaces(one) == interfaces(other)
    facts = parameters(ready)
    # The order of the interfaces is the tool's, widths are those of the ports.
    told = {key: sorted(value.split(":")) for key, value in parameters(packaged).items()}
    assert told == {key: sorted(value.split(":")) for key, value in facts.items() if not key[1].endswith("_WIDTH")}


@pytest.mark.parametrize("ports", [1, 4])
def test_kernel(ports):
    design = hollow_design(HwParams(weight_bus=512, weight_ports=ports))
    kernel = ET.fromstring(kernel_xml(design)).find("kernel")
    assert kernel.get("name") == design.top and kernel.get("hwControlProtocol") == "ap_ctrl_hs"
    names = {port.get("name"): int(port.get("dataWidth")) for port in kernel.iter("port")}
    assert names == {"s_axi_control": 32} | {master.name: master.data_bits for master in design.masters}
    arguments = {argument.get("name"): argument for argument in kernel.iter("arg")}
    written = {register.name: register for register in REGISTERS if register.access == "rw"}
    absent = {name for name in written if re.fullmatch(r"weights_base\d", name) and int(name[-1]) >= ports}
    assert arguments.keys() == written.keys() - absent
    for number, (name, argument) in enumerate(arguments.items()):
        assert int(argument.get("id")) == number
        assert int(argument.get("offset"), 16) == written[name].offset
        assert int(argument.get("size"), 16) == 4 * written[name].words
        kind = ("1", "void*") if "_base" in name else ("0", "uint")
        assert (argument.get("addressQualifier"), argument.get("type")) == kind
    assert arguments["weights_base"].get("port") == "m_axi_gmem0"
    assert arguments["output_base"].get("port") == "m_axi_gmem1"
    assert arguments["batch"].get("port") == "s_axi_control"
