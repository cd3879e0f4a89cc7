"""Yosys's text made Verilog-2005 and SystemVerilog at once, with plain identifiers."""

import re
import shutil
import subprocess

import pytest
from amaranth import Module, Mux, Signal
from amaranth.back import verilog
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwgen.rtl.verilog import component_verilog, plain_names, started

needs_icarus = pytest.mark.skipif(shutil.which("iverilog") is None, reason="no iverilog (apt install iverilog)")


class Idle(wiring.Component):
    """`idle` follows registers that never change, through a process; names that Verilog or Tcl has its own mind about."""

    begin: In(1)
    begin_: In(1)
    idle: Out(4)
    table: Out(4)

    def elaborate(self, platform):
        m = Module()
        state, left, right = Signal(3, init=5), Signal(4, name="same", init=11), Signal(4, name="same", init=2)
        m.submodules.wait = inner = Inner()
        m.d.comb += [inner.end.eq(state), self.table.eq(inner.table)]
        with m.Switch(state):
            with m.Case(5):
                m.d.comb += self.idle.eq(left)
            with m.Case(6):
                m.d.comb += self.idle.eq(right)
            with m.Default():
                m.d.comb += self.idle.eq(9)
        m.d.sync += state.eq(Mux(self.begin & self.begin_, 1, state))
        return m


class Inner(wiring.Component):
    end: In(3)
    table: Out(4)

    def elaborate(self, platform):
        m = Module()
        with m.If(self.end == 1):
            m.d.comb += self.table.eq(11)
        return m


BENCH = """
module bench;
    reg clk = 0;
    wire [3:0] idle;
    {top} dut (.clk(clk), .rst(1'b0), .{begin}(1'b0), .begin_(1'b0), .idle(idle));
    initial #9 begin $display("idle %0d", idle); $finish; end
endmodule
"""


def shown(text, standard, directory, begin):
    (directory / "bench.v").write_text(text + BENCH.format(top="a_idle", begin=begin))
    command = ["iverilog", f"-g{standard}", "-s", "bench", "-o", directory / "bench", directory / "bench.v"]
    subprocess.run(command, check=True)
    return subprocess.run([directory / "bench"], capture_output=True, text=True, check=True).stdout.strip()


@needs_icarus
@pytest.mark.parametrize("standard", ["2005", "2009", "2012"])
def test_a_process_over_constants_runs(standard, tmp_path):
    text = component_verilog(Idle(), "a_idle")
    begin = re.search(r"input (begin_\w+);", text)[1]
    assert shown(text, standard, tmp_path, begin) == "idle 11"


@needs_icarus
def test_yosys_alone_is_dead_in_system_verilog(tmp_path):
    """Else `started` is no longer needed."""
    text = verilog.convert(Idle(), name="a_idle", emit_src=False)
    assert shown(text, "2005", tmp_path, "\\begin ") == "idle 11"
    assert shown(text, "2012", tmp_path, "\\begin ") == "idle x"


def test_identifiers():
    text = component_verilog(Idle(), "a_idle")
    assert "\\" not in text
    assert re.findall(r"^module (\S+?)\(", text, re.MULTILINE) == ["a_idle", "a_idle_wait"]
    assert re.search(r"^  a_idle_wait +wait_ \($", text, re.MULTILINE)
    ports = re.findall(r"^  (?:input|output) (?:\[\S+\] )?(\w+);$", text, re.MULTILINE)
    assert "begin_" in ports and "begin__2" in ports, "two ports must not become one"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (r"assign \a.b  = \a$b ;", "assign a_b = a_b_2;"),
        (r"assign \a.b  = a_b;", "assign a_b_2 = a_b;"),
        (r"assign \begin  = \$1 [3];", "assign begin_ = _1[3];"),
        (r"assign \1st  = \a.b.c & \a.b.c ;", "assign _1st = a_b_c& a_b_c;"),
        (r"x #(.W(2)) \y.z  (.\end (\end ));", "x #(.W(2)) y_z (.end_(end_));"),
    ],
)
def test_plain_names(text, plain):
    assert plain_names(text).replace(" (", "(") == plain.replace(" (", "(")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  always @* begin\n    a = b;\n  end", "a process without a trigger"),
        ("  always @* begin\n    if (\\x$1 ) begin end\n    a = b;\n  end", r"no declaration of \\x\$1"),
    ],
)
def test_another_yosys_is_noticed(text, message):
    with pytest.raises(ValueError, match=message):
        started(text)
