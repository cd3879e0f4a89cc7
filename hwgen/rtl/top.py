"""The accelerator: control registers, sequencer, AXI masters and the datapath, under the names Vivado infers.

Tested by tests/system/test_cocotb_top.py.
"""

from __future__ import annotations

from amaranth import Cat, ClockDomain, Const, DomainRenamer, Module, ResetInserter, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hwgen.machine.isa import BYTES, UNITS
from hwgen.machine.params import HwParams
from hwgen.machine.regmap import BY_NAME, COUNTERS, REGISTERS
from hwgen.rtl.common.counter import saturating_counter
from hwgen.rtl.common.decode import delayed
from hwgen.rtl.control.registers import Control
from hwgen.rtl.control.sequencer import PORTS, READ_TAGS, Sequencer
from hwgen.rtl.datapath import Datapath
from hwgen.rtl.memory.axi import AxiReader, AxiWriter
from hwgen.rtl.memory.fetch import InstructionFetch
from hwgen.rtl.memory.weights import WeightFetch

__all__ = ["Accelerator"]

#: AXI side signals with one constant value: normal, non-secure, modifiable and bufferable accesses.
_CONSTANTS = {"ID": (1, 0), "LOCK": (1, 0), "CACHE": (4, 0b0011), "PROT": (3, 0), "QOS": (4, 0), "REGION": (4, 0)}
_ADDRESS = {"VALID": Out(1), "READY": In(1), "ADDR": Out(64), "LEN": Out(8), "SIZE": Out(3), "BURST": Out(2)}


def _address_channel(prefix: str) -> dict[str, In | Out]:
    ports = {f"{prefix}{name}": member for name, member in _ADDRESS.items()}
    return ports | {f"{prefix}{name}": Out(bits) for name, (bits, _) in _CONSTANTS.items()}


def _read_master(name: str, bits: int) -> dict[str, In | Out]:
    read = {"RVALID": In(1), "RREADY": Out(1), "RDATA": In(bits), "RRESP": In(2), "RLAST": In(1), "RID": In(1)}
    return _address_channel(f"{name}_AR") | {f"{name}_{port}": member for port, member in read.items()}


def _write_master(name: str, bits: int) -> dict[str, In | Out]:
    write = {"WVALID": Out(1), "WREADY": In(1), "WDATA": Out(bits), "WSTRB": Out(bits // 8), "WLAST": Out(1)}
    write |= {"BVALID": In(1), "BREADY": Out(1), "BRESP": In(2), "BID": In(1)}
    return _address_channel(f"{name}_AW") | {f"{name}_{port}": member for port, member in write.items()}


class Accelerator(wiring.Component):
    """Top level. `ap_clk`, `ap_rst_n` (synchronous, active low), `s_axi_control` (AXI4-Lite), `m_axi_gmem0` (weights,
    read only), `m_axi_gmem1` (program, position table, images, outputs), `interrupt`.

    `debug_*` have a field per unit in the order of `isa.UNITS`: a bit of `debug_begin` pulses when the unit begins an
    instruction, of `debug_retire` when all writes of one have been made, and 16 bits of `*_index` are its number in the
    program. Simulation compares the buffers with the golden model then. Leave them open in a design.
    """

    def __init__(self, p: HwParams, *, build_hash: int) -> None:
        self.p = p
        self.control = Control(p, build_hash=build_hash)
        lite = {name: member for name, member in self.control.signature.members.items() if name.startswith("s_axi_")}
        super().__init__(
            {"ap_clk": In(1), "ap_rst_n": In(1), "interrupt": Out(1)}
            | {f"debug_{event}": Out(len(UNITS)) for event in ("begin", "retire")}
            | {f"debug_{event}_index": Out(16 * len(UNITS)) for event in ("begin", "retire")}
            | lite
            | _read_master("m_axi_gmem0", p.weight_bus)
            | _read_master("m_axi_gmem1", p.data_bus)
            | _write_master("m_axi_gmem1", p.data_bus)
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.ap = ap = ClockDomain("ap")
        m.d.comb += [ap.clk.eq(self.ap_clk), ap.rst.eq(~self.ap_rst_n)]
        inner = Module()
        self._build(inner)
        m.submodules.core = DomainRenamer("ap")(inner)
        return m

    def _build(self, m: Module) -> None:
        p = self.p
        m.submodules.control = control = self.control
        m.submodules.sequencer = sequencer = Sequencer(p)
        m.submodules.weights = weights = WeightFetch(p)
        m.submodules.reader = reader = AxiReader(data_bits=p.data_bus)
        m.submodules.writer = writer = AxiWriter(data_bits=p.data_bus)
        fetch, datapath = InstructionFetch(p), Datapath(p)
        # A finished or stopped program leaves nothing behind: units start the next one from reset.
        m.submodules.fetch = ResetInserter(sequencer.clear)(fetch)
        m.submodules.datapath = ResetInserter(sequencer.clear)(datapath)

        self._control(m, control, sequencer)
        self._ports(m, weights, reader, writer)
        self._data_port(m, sequencer, fetch, datapath, reader, writer)
        m.d.comb += [
            # weights
            weights.cmd_valid.eq(fetch.weight_valid),
            fetch.weight_ready.eq(weights.cmd_ready),
            weights.cmd_address.eq(fetch.weight_address),
            weights.cmd_bytes.eq(fetch.weight_bytes),
            weights.cmd_narrow.eq(fetch.weight_narrow),
            weights.cmd_k_steps.eq(fetch.weight_k_steps),
            weights.abort.eq(sequencer.abort),
            weights.clear.eq(sequencer.clear),
            weights.r_en.eq(datapath.ring_en),
            weights.r_index.eq(datapath.ring_index),
            datapath.ring_written.eq(weights.written),
            datapath.ring_data.eq(weights.r_data),
            weights.param_en.eq(datapath.ring_param_en),
            weights.param_index.eq(datapath.ring_param_index),
            datapath.ring_param_data.eq(weights.param_data),
            weights.pop.eq(datapath.ring_pop),
            weights.pop_count.eq(datapath.ring_pop_count),
            # instructions
            fetch.start.eq(sequencer.fetch_start),
            fetch.address.eq(sequencer.fetch_address),
            fetch.limit.eq(sequencer.fetch_limit),
            fetch.weights_base.eq(sequencer.weights_base),
            fetch.weights_size.eq(sequencer.weights_size),
            fetch.nonempty.eq(datapath.nonempty),
            fetch.route_done.eq(datapath.router_done),
            sequencer.decision_valid.eq(fetch.decision_valid),
            sequencer.decision_fetched.eq(fetch.decision_fetched),
            fetch.decision_ready.eq(sequencer.decision_ready),
            sequencer.fetch_valid.eq(fetch.out_valid),
            fetch.out_ready.eq(sequencer.fetch_ready),
            sequencer.fetch_data.eq(fetch.out_data),
            sequencer.fetch_exhausted.eq(fetch.exhausted),
            datapath.instruction.eq(sequencer.instruction),
            datapath.rows.eq(sequencer.rows),
            datapath.fetched.eq(sequencer.fetched),
            datapath.number.eq(sequencer.number),
            sequencer.unfinished.eq(datapath.unfinished),
            sequencer.queue_length.eq(datapath.queue_length),
            # faults
            sequencer.read0_error.eq(weights.error),
            sequencer.read1_error.eq(reader.error),
            sequencer.write1_error.eq(writer.error),
            sequencer.writer_idle.eq(writer.idle),
            sequencer.starved.eq(datapath.starved),
            sequencer.ports_idle.eq(weights.idle & reader.idle & writer.idle),
        ]
        # No more weights will come: none are under way, or there is no room for them.
        full = Signal()
        m.d.sync += full.eq(weights.level == p.weight_depth)
        m.d.comb += sequencer.weights_barred.eq((weights.idle & ~fetch.weight_valid) | full)
        for port in PORTS:
            m.d.comb += [
                getattr(datapath, f"{port}_start").eq(getattr(sequencer, f"{port}_start")),
                getattr(sequencer, f"{port}_done").eq(getattr(datapath, f"{port}_done")),
            ]
        self._debug(m, sequencer, datapath)
        self._counters(m, control, sequencer, datapath, weights, reader, writer)

    def _control(self, m: Module, control: Control, sequencer: Sequencer) -> None:
        for name, member in control.signature.members.items():
            if name.startswith("s_axi_"):
                outer, inner = getattr(self, name), getattr(control, name)
                m.d.comb += outer.eq(inner) if member.flow == Out else inner.eq(outer)
        for register in REGISTERS:
            if register.access == "rw":
                m.d.comb += getattr(sequencer, register.name).eq(getattr(control, register.name))
        m.d.comb += [
            sequencer.start.eq(control.start),
            control.done.eq(sequencer.done),
            control.ready.eq(sequencer.done),
            control.idle.eq(sequencer.idle),
            control.error_code.eq(sequencer.error_code),
            control.error_index.eq(sequencer.error_index),
            self.interrupt.eq(control.interrupt),
        ]

    def _counters(
        self,
        m: Module,
        control: Control,
        sequencer: Sequencer,
        datapath: Datapath,
        weights: WeightFetch,
        reader: AxiReader,
        writer: AxiWriter,
    ) -> None:
        """Saturating event counters of a run, and the bytes the ports counted themselves; zero from `start` on."""
        started, starting = sequencer.start, Signal()
        m.d.sync += starting.eq(started)  # what these count comes later still
        for unit in (reader, writer):
            m.d.comb += unit.clear.eq(starting)
        m.d.comb += weights.clear_bytes.eq(starting)

        # Every cycle has one cause: the engine's own while it has an instruction, else what the sequencer waits for.
        causes: list[tuple[str, Value]] = [
            ("array_busy", datapath.step),
            ("stall_weights", datapath.starved),
            ("stall_drain", datapath.stall_drain),
            ("stall_pipeline", datapath.stall_pipeline),
            ("stall_issue", datapath.stall_issue),
            ("stall_norm", sequencer.wait_norm),
            ("stall_router", sequencer.wait_router),
            ("stall_mover", sequencer.wait_mover),
            ("stall_data", sequencer.wait_data),
            ("stall_pipeline", sequencer.wait_engine),
            ("stall_fetch", sequencer.wait_fetch),
        ]
        # All of them a cycle late: they come from far, and the first cause is yet to be found.
        running = delayed(m, sequencer.running, 1, reset=True)
        events: dict[str, Value] = {}
        unexplained = running
        for name, value in causes:
            cause = delayed(m, value, 1)
            events[name] = events.get(name, Const(0)) | (cause & unexplained)
            unexplained = unexplained & ~cause
        events["stall_issue"] = events["stall_issue"] | unexplained
        events |= {
            "cycles": running,
            "instructions": delayed(m, sequencer.executed, 1, reset=True),
            "attention_busy": delayed(m, datapath.attention_step, 1, reset=True),
        }
        counted = {
            "gmem0_read_bytes": weights.bytes,
            "gmem1_read_bytes": reader.bytes,
            "gmem1_write_bytes": writer.bytes,
            "gmem0_wasted_bytes": self._sum(m, started, datapath.discarded, self.p.ring_bytes // 2, "discarded"),
            "kv_read_bytes": self._sum(m, started, datapath.kv_read, self.p.ring_bytes, "kv_read"),
        }
        assert set(events) | set(counted) == set(COUNTERS)
        for name, count in counted.items():
            m.d.comb += getattr(control, name).eq(count)
        for name, event in events.items():
            bits = BY_NAME[name].bits
            m.d.comb += getattr(control, name).eq(
                saturating_counter(m, bits=bits, clear=starting, amount=event, name=name)
            )

    def _sum(self, m: Module, clear: Value, words: Value, word_bytes: int, name: str) -> Value:
        """Bytes of `words` words per cycle, saturating."""
        scale, bits = exact_log2(word_bytes), BY_NAME["kv_read_bytes"].bits
        count = saturating_counter(m, bits=bits - scale, clear=clear, amount=words, name=name)
        return Cat(Const(0, scale), count)

    def _debug(self, m: Module, sequencer: Sequencer, datapath: Datapath) -> None:
        for number, unit in enumerate(UNITS):
            at = slice(16 * number, 16 * number + 16)
            if unit == "engine":
                began, begun, retired = datapath.begin, datapath.begin_number, datapath.done_number
            else:
                ports = ("image", "load", "store") if unit == "data" else (unit,)
                began = Cat(getattr(sequencer, f"{port}_start") for port in ports).any()
                begun, retired = sequencer.number, Signal(16, name=f"{unit}_number")
                with m.If(began):
                    m.d.sync += retired.eq(sequencer.number)
            m.d.comb += [
                self.debug_begin[number].eq(began),
                self.debug_begin_index[at].eq(begun),
                self.debug_retire[number].eq(getattr(sequencer, f"{unit}_done")),
                self.debug_retire_index[at].eq(retired),
            ]

    def _data_port(
        self,
        m: Module,
        sequencer: Sequencer,
        fetch: InstructionFetch,
        datapath: Datapath,
        reader: AxiReader,
        writer: AxiWriter,
    ) -> None:
        """gmem1: the program and the data commands share the reader; beats are told apart by their tag."""
        program_turn = Signal()
        m.d.comb += [
            program_turn.eq(~sequencer.read_valid),
            reader.cmd_valid.eq(sequencer.read_valid | fetch.cmd_valid),
            reader.cmd_address.eq(fetch.cmd_address),
            reader.cmd_bytes.eq(BYTES),
            reader.cmd_tag.eq(READ_TAGS["program"]),
            fetch.cmd_ready.eq(reader.cmd_ready & program_turn),
            sequencer.read_ready.eq(reader.cmd_ready),
            reader.abort.eq(sequencer.abort),
            fetch.beat_data.eq(reader.out_data),
            datapath.image_data.eq(reader.out_data),
            datapath.load_data.eq(reader.out_data),
            writer.cmd_valid.eq(sequencer.write_valid),
            sequencer.write_ready.eq(writer.cmd_ready),
            writer.cmd_address.eq(sequencer.write_address),
            writer.cmd_bytes.eq(sequencer.data_bytes),
            writer.abort.eq(sequencer.abort),
            writer.in_valid.eq(datapath.store_valid),
            datapath.store_ready.eq(writer.in_ready),
            writer.in_data.eq(datapath.store_data),
            writer.in_strb.eq(datapath.store_strb),
        ]
        with m.If(sequencer.read_valid):
            m.d.comb += [
                reader.cmd_address.eq(sequencer.read_address),
                reader.cmd_bytes.eq(sequencer.data_bytes),
                reader.cmd_tag.eq(sequencer.read_tag),
            ]
        with m.Switch(reader.out_tag):
            for tag, valid, ready in (
                (READ_TAGS["program"], fetch.beat_valid, fetch.beat_ready),
                (READ_TAGS["image"], datapath.image_valid, datapath.image_ready),
                (READ_TAGS["load"], datapath.load_valid, datapath.load_ready),
            ):
                with m.Case(tag):
                    m.d.comb += [valid.eq(reader.out_valid), reader.out_ready.eq(ready)]

    def _ports(self, m: Module, weights: WeightFetch, reader: AxiReader, writer: AxiWriter) -> None:
        def address(master: str, channel: str, unit: wiring.Component, prefix: str) -> None:
            for name, member in _ADDRESS.items():
                outer = getattr(self, f"{master}_{channel.upper()}{name}")
                inner = getattr(unit, f"{prefix}{channel}_{name.lower()}")
                m.d.comb += outer.eq(inner) if member.flow == Out else inner.eq(outer)
            for name, (_, value) in _CONSTANTS.items():
                m.d.comb += getattr(self, f"{master}_{channel.upper()}{name}").eq(value)

        for master, unit, prefix in (("m_axi_gmem0", weights, "axi_"), ("m_axi_gmem1", reader, "")):
            address(master, "ar", unit, prefix)
            for name in ("valid", "data", "resp", "last"):
                m.d.comb += getattr(unit, f"{prefix}r_{name}").eq(getattr(self, f"{master}_R{name.upper()}"))
            m.d.comb += getattr(self, f"{master}_RREADY").eq(getattr(unit, f"{prefix}r_ready"))
        address("m_axi_gmem1", "aw", writer, "")
        for name in ("valid", "data", "strb", "last"):
            m.d.comb += getattr(self, f"m_axi_gmem1_W{name.upper()}").eq(getattr(writer, f"w_{name}"))
        m.d.comb += [
            writer.w_ready.eq(self.m_axi_gmem1_WREADY),
            writer.b_valid.eq(self.m_axi_gmem1_BVALID),
            writer.b_resp.eq(self.m_axi_gmem1_BRESP),
            self.m_axi_gmem1_BREADY.eq(writer.b_ready),
        ]
