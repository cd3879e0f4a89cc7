"""The accelerator: control registers, sequencer, AXI masters and the datapath, under the names Vivado infers.

Tested by tests/system/test_cocotb_top.py.
"""

from __future__ import annotations

from amaranth import Cat, ClockDomain, ClockSignal, Const, DomainRenamer, Module, Mux, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hwgen.machine.interfaces import DATA, masters, numbered, weight_numbers
from hwgen.machine.isa import BYTES, UNITS
from hwgen.machine.params import HwParams
from hwgen.machine.regmap import BY_NAME, COUNTERS, registers
from hwgen.rtl.common.counter import saturating_counter
from hwgen.rtl.common.decode import delayed
from hwgen.rtl.common.ports import bundled
from hwgen.rtl.common.replica import replica, reset_apart
from hwgen.rtl.control.registers import Control
from hwgen.rtl.control.sequencer import READ_TAGS, Sequencer
from hwgen.rtl.datapath import DISPATCH, Datapath
from hwgen.rtl.memory.axi import (
    AxiReader,
    AxiWriter,
    address_channel,
    read_channel,
    response_channel,
    write_channel,
)
from hwgen.rtl.memory.fetch import InstructionFetch
from hwgen.rtl.memory.weights import WeightFetch

__all__ = ["Accelerator"]


def _constants(p: HwParams) -> dict[str, tuple[int, int]]:
    """AXI side signals with one value, (bits, value): one ID, no exclusive access, no priority, one region."""
    same = {"ID": (p.id_bits, 0), "LOCK": (1, 0), "QOS": (4, 0), "REGION": (4, 0)}
    return same | {"CACHE": (4, p.axi_cache), "PROT": (3, p.axi_prot)}


def _flat(prefix: str, channel: wiring.Signature) -> dict[str, wiring.Member]:
    """A channel's ports under their names in Verilog."""
    return {f"{prefix}{name.upper()}": member for name, member in channel.members.items()}


def _address_channel(p: HwParams, prefix: str) -> dict[str, wiring.Member]:
    constants = {f"{prefix}{name}": Out(bits) for name, (bits, _) in _constants(p).items()}
    return _flat(prefix, address_channel()) | constants


def _read_master(p: HwParams, name: str, bits: int) -> dict[str, wiring.Member]:
    read = _flat(f"{name}_R", read_channel(bits).flip())
    return _address_channel(p, f"{name}_AR") | read | {f"{name}_RID": In(p.id_bits)}


def _write_master(p: HwParams, name: str, bits: int) -> dict[str, wiring.Member]:
    write = _flat(f"{name}_W", write_channel(bits)) | _flat(f"{name}_B", response_channel().flip())
    return _address_channel(p, f"{name}_AW") | write | {f"{name}_BID": In(p.id_bits)}


class Accelerator(wiring.Component):
    """Top level. `ap_clk`, `ap_rst_n` (synchronous, active low), `s_axi_control` (AXI4-Lite), the AXI masters of
    `hwgen.machine.interfaces`, `interrupt`.

    A reset takes RESET_CYCLES cycles at least: registers bring it to each part.

    `debug_*` have a field per unit in the order of `isa.UNITS`: a bit of `debug_begin` pulses when the unit begins an
    instruction, of `debug_retire` when all writes of one have been made, and 16 bits of `*_index` are its number in the
    program. Simulation compares the buffers with the golden model then. Leave them open in a design; without `debug`
    there are none.
    """

    RESET_CYCLES = 3

    def __init__(self, p: HwParams, *, build_hash: int, debug: bool = True) -> None:
        self.p, self.debug = p, debug
        self.control = Control(p, build_hash=build_hash)
        lite = {name: member for name, member in self.control.signature.members.items() if name.startswith("s_axi_")}
        self.lite = wiring.Signature(lite)
        seen = {f"debug_{event}": Out(len(UNITS)) for event in ("begin", "retire")}
        seen |= {f"debug_{event}_index": Out(16 * len(UNITS)) for event in ("begin", "retire")}
        super().__init__(
            {"ap_clk": In(1), "ap_rst_n": In(1), "interrupt": Out(1)}
            | (seen if debug else {})
            | lite
            | {
                name: port
                for master in masters(p)
                for kind, there in ((_read_master, master.reads), (_write_master, master.writes))
                if there
                for name, port in kind(p, master.name, master.data_bits).items()
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.ap = ap = ClockDomain("ap")
        m.d.comb += [ap.clk.eq(self.ap_clk), ap.rst.eq(replica(m, "reset", ~self.ap_rst_n, domain="ap"))]
        inner = Module()
        self._build(inner)
        m.submodules.core = DomainRenamer("ap")(inner)
        return m

    def _build(self, m: Module) -> None:
        p = self.p
        control, sequencer, weights = self.control, Sequencer(p), WeightFetch(p)
        reader = AxiReader(data_bits=p.data_bus, max_burst=p.max_burst)
        writer = AxiWriter(data_bits=p.data_bus, max_burst=p.max_burst)
        fetch, datapath = InstructionFetch(p), Datapath(p)
        # Resets reach far: each part has a register for its own, each unit of the datapath, too.
        for name, part in (
            ("control", control), ("sequencer", sequencer), ("weights", weights), ("reader", reader),
            ("writer", writer),
        ):  # fmt: skip
            reset_apart(m, name, part)
        # A finished or stopped program leaves nothing behind: units start the next one from reset.
        clear = Signal()
        m.d.sync += clear.eq(sequencer.clearing)
        m.domains += ClockDomain("units", local=True)
        m.d.comb += [ClockSignal("units").eq(ClockSignal()), ResetSignal("units").eq(ResetSignal() | clear)]
        m.submodules.datapath = DomainRenamer("units")(datapath)
        reset_apart(m, "fetch", fetch, ResetSignal("units"))

        self._control(m, control, sequencer)
        self._ports(m, weights, reader, writer)
        self._program(m, sequencer, fetch)
        self._data_port(m, sequencer, fetch, datapath, reader, writer)
        wiring.connect(m, fetch.weights, weights.command)
        wiring.connect(m, datapath.ring, weights.ring)
        wiring.connect(m, bundled(sequencer, DISPATCH), datapath.dispatch)
        m.d.comb += [
            weights.abort.eq(sequencer.abort),
            weights.clear.eq(sequencer.clear),
            fetch.nonempty.eq(datapath.nonempty),
            fetch.route_done.eq(datapath.dispatch.router_done),
            sequencer.unfinished.eq(datapath.engine.unfinished),
            sequencer.queue_length.eq(datapath.queue_length),
            # faults
            *(
                getattr(sequencer, f"read{number}_error").eq(weights.error[port])
                for port, number in enumerate(weight_numbers(p))
            ),
            sequencer.read1_error.eq(reader.error),
            sequencer.write1_error.eq(writer.error),
            sequencer.writer_idle.eq(writer.idle),
            sequencer.starved.eq(datapath.engine.starved),
            sequencer.ports_idle.eq(weights.idle & reader.idle & writer.idle),
        ]
        # No more weights will come: none are under way, or there is no room for them.
        full = Signal()
        m.d.sync += full.eq(weights.level == p.weight_depth)
        m.d.comb += sequencer.weights_barred.eq((weights.idle & ~fetch.weights.valid) | full)
        if self.debug:
            self._debug(m, sequencer, datapath)
        self._counters(m, control, sequencer, datapath, weights, reader, writer)

    def _control(self, m: Module, control: Control, sequencer: Sequencer) -> None:
        wiring.connect(m, bundled(control, self.lite), wiring.flipped(bundled(self, self.lite)))
        written = [register for register in registers(self.p) if register.access == "rw"]
        arguments = wiring.Signature({register.name: Out(register.bits) for register in written})
        wiring.connect(m, bundled(control, arguments), bundled(sequencer, arguments.flip()))
        m.d.comb += [
            sequencer.start.eq(control.start),
            sequencer.stop.eq(control.stop),
            sequencer.error_code_clear.eq(control.error_code_clear),
            control.done.eq(sequencer.done),
            control.ready.eq(sequencer.done),
            control.idle.eq(sequencer.idle),
            control.error_code.eq(sequencer.error_code),
            control.error_index.eq(sequencer.error_index),
            self.interrupt.eq(control.interrupt),
        ]

    def _program(self, m: Module, sequencer: Sequencer, fetch: InstructionFetch) -> None:
        m.d.comb += [
            fetch.start.eq(sequencer.fetch_start),
            fetch.address.eq(sequencer.fetch_address),
            fetch.limit.eq(sequencer.fetch_limit),
            *(getattr(fetch, name).eq(getattr(sequencer, name)) for name in fetch.bases),
            fetch.weights_size.eq(sequencer.weights_size),
            sequencer.decision_valid.eq(fetch.decisions.valid),
            sequencer.decision_fetched.eq(fetch.decisions.payload),
            fetch.decisions.ready.eq(sequencer.decision_ready),
            sequencer.fetch_valid.eq(fetch.out.valid),
            sequencer.fetch_data.eq(fetch.out.payload),
            fetch.out.ready.eq(sequencer.fetch_ready),
            sequencer.fetch_exhausted.eq(fetch.exhausted),
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
            ("array_busy", datapath.engine.step),
            ("stall_weights", datapath.engine.starved),
            ("stall_drain", datapath.engine.stall_drain),
            ("stall_pipeline", datapath.engine.stall_pipeline),
            ("stall_issue", datapath.engine.stall_issue),
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
            "attention_busy": delayed(m, datapath.engine.attention_step, 1, reset=True),
        }
        counted = {
            f"gmem{number}_read_bytes": getattr(weights, numbered("bytes", port))
            for port, number in enumerate(weight_numbers(self.p))
        } | {
            "gmem1_read_bytes": reader.bytes,
            "gmem1_write_bytes": writer.bytes,
            "gmem0_wasted_bytes": self._sum(m, started, datapath.engine.discarded, self.p.ring_bytes // 2, "discarded"),
            "kv_read_bytes": self._sum(m, started, datapath.kv_read, self.p.ring_bytes, "kv_read"),
        }
        assert set(events) | set(counted) == set(COUNTERS) & {register.name for register in registers(self.p)}
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
                engine = datapath.engine
                began, begun, retired = engine.begin, engine.begin_number, engine.done_number
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
        command, beats = reader.command, reader.beats
        m.d.comb += [
            program_turn.eq(~sequencer.read_valid),
            command.valid.eq(sequencer.read_valid | fetch.reads.valid),
            command.payload.address.eq(Mux(program_turn, fetch.reads.payload, sequencer.read_address)),
            command.payload.bytes.eq(Mux(program_turn, BYTES, sequencer.data_bytes)),
            command.payload.tag.eq(Mux(program_turn, READ_TAGS["program"], sequencer.read_tag)),
            fetch.reads.ready.eq(command.ready & program_turn),
            sequencer.read_ready.eq(command.ready),
            reader.abort.eq(sequencer.abort),
            writer.command.valid.eq(sequencer.write_valid),
            sequencer.write_ready.eq(writer.command.ready),
            writer.command.payload.address.eq(sequencer.write_address),
            writer.command.payload.bytes.eq(sequencer.data_bytes),
            writer.abort.eq(sequencer.abort),
        ]
        wiring.connect(m, datapath.store_beats, writer.beats)
        with m.Switch(beats.payload.tag):
            for tag, taker in (
                (READ_TAGS["program"], fetch.beats),
                (READ_TAGS["image"], datapath.image_beats),
                (READ_TAGS["load"], datapath.load_beats),
            ):
                m.d.comb += taker.payload.eq(beats.payload.data)
                with m.Case(tag):
                    m.d.comb += [taker.valid.eq(beats.valid), beats.ready.eq(taker.ready)]

    def _ports(self, m: Module, weights: WeightFetch, reader: AxiReader, writer: AxiWriter) -> None:
        channels = {(DATA, "AR"): reader.ar, (DATA, "R"): reader.r}
        channels |= {(DATA, "AW"): writer.aw, (DATA, "W"): writer.w, (DATA, "B"): writer.b}
        for port, number in enumerate(weight_numbers(self.p)):
            channels |= {(number, name.upper()): getattr(weights, numbered(name, port)) for name in ("ar", "r")}
        for (number, kind), channel in channels.items():
            prefix = f"m_axi_gmem{number}_{kind}"
            pins = bundled(self, channel.signature, lambda name, prefix=prefix: f"{prefix}{name.upper()}")
            wiring.connect(m, channel, wiring.flipped(pins))
            if prefix.endswith(("AR", "AW")):
                for name, (_, value) in _constants(self.p).items():
                    m.d.comb += getattr(self, f"{prefix}{name}").eq(value)
