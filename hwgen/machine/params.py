"""Hardware parameters: the array shape, bus widths and buffer depths of one accelerator, and what follows from them."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from amaranth.utils import ceil_log2

from hwgen.common.errors import HwgenError

__all__ = ["ALIGN", "BUS_BITS", "FEATURES", "PORTS", "PORT_BITS", "HwParams"]

#: Least and most bits of a bus.
BUS_BITS = 64, 512
#: Numbers of weight ports there may be, and the least bits of one: interconnects begin there.
PORTS, PORT_BITS = (1, 2, 4), 32
#: What AXI addresses and instructions name in DRAM starts at multiples of so many bytes.
ALIGN = 64
#: What an accelerator has if one of its models needs it. Without them it is what it was before there were any.
FEATURES = ("gated_mlp", "rms_norm", "spill")


def _power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


@dataclass(frozen=True)
class HwParams:
    """One accelerator. Depths are in words of the buffer named; see `docs/architecture.md` for the word of each."""

    t: int = 8  #: token rows of the array
    c: int = 16  #: output channels (columns)
    k: int = 8  #: lanes of each dot product
    weight_bus: int = 256  #: bits of weights per cycle: the data width of all weight ports together
    data_bus: int = 128  #: data width of m_axi_gmem1 in bits
    x_depth: int = 2048  #: residual stream, words of C int16
    y_depth: int = 256  #: LayerNorm outputs and context, words of W bytes in each of T banks
    h_depth: int = 1024  #: queries, gathered tokens, hidden activations: words of W bytes in each of T banks
    k_depth: int = 128  #: keys, words of W bytes in each of C banks
    v_depth: int = 256  #: values, words of C bytes in each of K banks
    max_tokens: int = 256  #: rows that attention, router queues and buffers can hold
    weight_depth: int = 1024  #: weight ring, words of C*K bytes
    norm_depth: int = 32  #: LayerNorm parameters, words of C channels
    max_experts: int = 16
    max_topk: int = 4
    instruction_queue: int = 64  #: instructions fetched ahead, and with them their weights
    weight_ports: int = 1  #: AXI masters that the weights are striped over: m_axi_gmem0, m_axi_gmem2, ...
    multiplier_bits: int = 27  #: of the FPGA's multipliers' wider operand; two tokens share one of 27 (DSP48E2)
    max_burst: int = 64  #: beats of the longest AXI burst; AXI3 allows 16
    id_bits: int = 1  #: of the AXI masters' IDs, all of which are 0
    axi_cache: int = 0b0011  #: AxCACHE: normal, modifiable and bufferable
    axi_prot: int = 0b000  #: AxPROT: unprivileged, secure, data
    ultra_ram: bool = False  #: large memories may be UltraRAM
    rms_norm: bool = False  #: NORM can leave the mean in: RMSNorm
    gated_mlp: bool = False  #: activations may be multiplied by a second projection (SwiGLU)
    spill: bool = False  #: the residual stream may be in DRAM: LOAD reads what STORE wrote, beside other units

    def __post_init__(self) -> None:
        if self.weight_ports not in PORTS:
            expected = f"{', '.join(map(str, PORTS[:-1]))} or {PORTS[-1]}"
            raise HwgenError("array parameters", "weight_ports", expected=expected, found=repr(self.weight_ports))
        for name, low, high in (
            ("t", 2, 64),
            ("c", 2, 64),
            ("k", 1, 32),
            ("weight_bus", *BUS_BITS),
            ("data_bus", *BUS_BITS),
            ("max_burst", 1, 256),
        ):
            value = getattr(self, name)
            if not _power_of_two(value) or not low <= value <= high:
                raise HwgenError(
                    "array parameters", name, expected=f"a power of two from {low} to {high}", found=repr(value)
                )
        if self.multiplier_bits not in (18, 27):
            expected = "18 or 27"
            raise HwgenError("array parameters", "multiplier_bits", expected=expected, found=repr(self.multiplier_bits))
        if self.port_bits < PORT_BITS:
            expected = f"ports of at least {PORT_BITS} bits"
            found = f"{self.weight_bus} bits over {self.weight_ports} ports"
            raise HwgenError("array parameters", "weight_ports", expected=expected, found=found)
        for name, high in (
            ("x_depth", 1 << 16), ("y_depth", 1 << 16), ("h_depth", 1 << 16), ("k_depth", 1 << 16),
            ("v_depth", 1 << 16), ("max_tokens", 1 << 12), ("weight_depth", 1 << 20), ("norm_depth", 1 << 12),
            ("max_experts", 256), ("max_topk", 16), ("instruction_queue", 256),
            ("id_bits", 16), ("axi_cache", 15), ("axi_prot", 7),
        ):  # fmt: skip
            value = getattr(self, name)
            low = {"max_experts": 2, "axi_cache": 0, "axi_prot": 0}.get(name, 1)
            if not isinstance(value, int) or not low <= value <= high:
                expected = f"an integer from {low} to {high}"
                raise HwgenError("array parameters", name, expected=expected, found=repr(value))

    @property
    def word(self) -> int:
        """W: bytes of a word of the banked buffers (Y, H, K)."""
        return max(self.c, self.k)

    @property
    def ring_bytes(self) -> int:
        """Bytes of a weight-ring word: one array step of weights."""
        return self.c * self.k

    @property
    def port_bits(self) -> int:
        """Data width of one weight port."""
        return self.weight_bus // self.weight_ports

    @property
    def weight_align(self) -> int:
        """Offsets in the weights region are multiples of so many bytes: of ALIGN in each port's share of it."""
        return ALIGN * self.weight_ports

    @property
    def ring_depth(self) -> int:
        """Words in the memories of the weight ring, of which there are two: a power of two, as counters wrap."""
        return 1 << ceil_log2(max(self.weight_depth, 4))

    @property
    def piece_bytes(self) -> int:
        """Bytes of a weight beat or a ring word, whichever is smaller; narrow weights are packed by pairs of them."""
        return min(self.ring_bytes, self.weight_bus // 8)

    @property
    def param_words(self) -> int:
        """Ring words in front of each weight tile that hold its 8 parameter bytes per channel."""
        return -(-8 // self.k)

    @property
    def row_bits(self) -> int:
        """Bits of a row (token) number, up to and including `max_tokens`."""
        return ceil_log2(self.max_tokens + 1)

    @property
    def macs(self) -> int:
        """Multiply-accumulates per cycle."""
        return self.t * self.c * self.k

    def as_dict(self) -> dict[str, int]:
        """Features that are not there left out."""
        return {name: value for name, value in asdict(self).items() if value or name not in FEATURES}
