"""An accelerator's Verilog without its insides, in no time: what `hwgen build` derives from the ports is there."""

from __future__ import annotations

from hwgen.machine.emission import Emission
from hwgen.machine.interfaces import masters
from hwgen.machine.params import HwParams
from hwgen.machine.regmap import ADDRESS_BITS

#: Bits of the ports; outputs of a slave are negative here, inputs of a master below.
_LITE = {"AWADDR": ADDRESS_BITS, "AWVALID": 1, "WDATA": 32, "WSTRB": 4, "WVALID": 1, "BREADY": 1, "RREADY": 1,
         "ARADDR": ADDRESS_BITS, "ARVALID": 1, "AWREADY": -1, "WREADY": -1, "BRESP": -2, "BVALID": -1, "ARREADY": -1,
         "RDATA": -32, "RRESP": -2, "RVALID": -1}  # fmt: skip
_PLAIN = Emission(debug=False)


def hollow_verilog(p: HwParams, build_hash: int = 0, emission: Emission = _PLAIN) -> str:
    """In place of `hwgen.rtl.emit.accelerator_verilog`."""
    address = {"ADDR": 64, "LEN": 8, "SIZE": 3, "BURST": 2, "LOCK": 1, "CACHE": 4, "PROT": 3, "QOS": 4, "REGION": 4,
               "ID": p.id_bits, "VALID": 1, "READY": -1}  # fmt: skip
    ports = {"ap_clk": -1, "ap_rst_n": -1, "interrupt": 1}
    ports |= {f"s_axi_control_{name}": -bits for name, bits in _LITE.items()}
    for master in masters(p):
        bits = master.data_bits
        read = {"DATA": -bits, "RESP": -2, "LAST": -1, "ID": -p.id_bits, "VALID": -1, "READY": 1}
        channels = {"AR": address, "R": read}
        if master.writes:
            channels["AW"] = address
            channels["W"] = {"DATA": bits, "STRB": bits // 8, "LAST": 1, "VALID": 1, "READY": -1}
            channels["B"] = {"RESP": -2, "ID": -p.id_bits, "VALID": -1, "READY": 1}
        for channel, signals in channels.items():
            ports |= {f"{master.name}_{channel}{name}": bits for name, bits in signals.items()}
    lines = [f"// {p.t} {build_hash:08x}", f"module {emission.top}({', '.join(ports)});"]
    for name, bits in ports.items():
        lines.append(f"  {'output' if bits > 0 else 'input'} [{abs(bits) - 1}:0] {name};")
    return "\n".join([*lines, "endmodule", ""])
