"""What the sequencer must do: random programs, and a model in Python of the events that they give."""

from __future__ import annotations

import numpy as np

from hwgen.machine.isa import BYTES, ORDER, UNITS, Dest, Op, Source, decode, encode
from hwgen.machine.params import HwParams
from hwgen.machine.regmap import Error
from hwgen.machine.tables import ACTIVATION_ENTRIES

__all__ = ["MASK", "UNIT", "Programs", "Routing", "port_of"]

UNIT = {op: unit for unit, ops in UNITS.items() for op in ops}
REGIONS = ("program", "weights", "input", "output")
MASK = (1 << 64) - 1
TABLES = 32 * BYTES  #: in front of the program, for LOADs


def port_of(op: Op) -> str:
    return op.name.lower() if UNIT[op] == "data" else UNIT[op]


def words(hw: HwParams, f: dict[str, int]) -> int:
    return f["tiles"] * (hw.param_words + f["k_steps"])


def kept_after(hw: HwParams, f: dict[str, int], kept: int) -> int:
    """Words in the weight ring for later MATMULs behind MATMUL `f`, or -1: its own do not lie where it says."""
    keep, offset = f.get("keep", 0), f.get("ring_offset", 0)
    if f["bytes"]:  # come behind what is kept
        return -1 if offset != kept else kept + words(hw, f) * keep
    return -1 if offset + words(hw, f) > kept else kept if keep else kept - words(hw, f)


def refusal(r: dict[str, int]) -> Error:
    """Why a run must not start with these arguments."""
    shares = [base for name, base in r.items() if name.startswith("weights_base")]
    for region in REGIONS:
        bases = shares if region == "weights" else [r[f"{region}_base"]]
        size = r[f"{region}_size"] // len(bases)
        if any(base % 64 or base + size > 1 << 64 for base in bases):
            return Error[f"{region.upper()}_BASE"]
    for name in ("input_stride", "output_stride"):
        if r[name] % 64:
            return Error[name.upper()]
    return Error.ENTRY if r["entry"] % 64 or r["entry"] >= r["program_size"] else Error.NONE


class Programs:
    """Legal instructions with random ORDER fields, and registers to run them with.

    `kept`: words in the weight ring after the instructions so far; END begins anew.
    """

    def __init__(self, hw: HwParams, rng: np.random.Generator) -> None:
        self.hw, self.rng, self.kept = hw, rng, 0

    def instruction(self, op: Op, **more: int) -> bytes:
        hw, rng = self.hw, self.rng
        x_word = 2 * hw.c
        rows = {"row_end": int(rng.integers(1, hw.max_tokens + 1))}
        offset = {"offset": int(rng.integers(8)) * hw.weight_align}
        match op:
            case Op.END:
                f = {}
            case Op.LOAD:
                dest = int(rng.choice([Dest.X, Dest.NORM, Dest.ACTIVATION]))
                size = ACTIVATION_ENTRIES if dest == Dest.ACTIVATION else int(rng.integers(1, 5)) * max(x_word, 64)
                f = offset | {"dest": dest, "bytes": size}
            case Op.IMAGE:
                f = offset | {"bytes": int(rng.integers(1, 600)), "a_stride": 2, "k_steps": 6, "tiles": 3}
            case Op.NORM:
                f = rows | {"tiles": 2, "dim": 9, "table": int(rng.integers(2))}
            case Op.MATMUL:
                f = self._weights(rows, offset)
            case Op.ATTENTION:
                f = rows | {"tiles": 1, "k_steps": 2, "key_tiles": 3, "pv_steps": 4}
            case Op.ROUTE:
                f = rows | {"tiles": 4, "k_steps": 2, "append": int(rng.integers(2))}
            case Op.GATHER:
                f = {"use_queue": 1, "expert": int(rng.integers(hw.max_experts)), "tiles": 2}
            case Op.MEAN:
                f = rows | {"tiles": 2}
            case Op.STORE:
                source = int(rng.choice([Source.X, Source.Y]))
                f = rows | offset | {"tiles": 2, "source": source, "bytes": 2 * x_word * rows["row_end"]}
        if op != Op.END and rng.random() < 0.9:
            f |= {"engine_lag": int(rng.choice([0, 1, 2, 3, 4, 7, 7, 7]))}
            f |= {name: int(rng.random() < 0.7) for name in ORDER[1:]}
        f |= more
        if op == Op.MATMUL:
            self.kept = kept_after(hw, f, self.kept)
        if op == Op.END:
            self.kept = 0
        if f.get("use_queue"):
            f["beside_router"] = 0  # it makes the queue
        return encode(op, **f)

    def _weights(self, rows: dict[str, int], offset: dict[str, int]) -> dict[str, int]:
        """A MATMUL of a queue, scattered too, if nothing is kept; with weights of its own, or of the kept ones."""
        hw, rng, each = self.hw, self.rng, self.hw.param_words + 5
        f = offset | {"k_steps": 5, "tiles": 3 if self.kept == 0 else int(rng.integers(1, 4))}
        f["bytes"] = f["tiles"] * each * hw.ring_bytes
        styles = ["keep"] * (self.kept + f["tiles"] * each <= hw.weight_depth)
        styles += ["kept", "pop"] if self.kept >= f["tiles"] * each else []
        style = str(rng.choice(styles + ([] if self.kept else ["own", "queue", "scatter"])))
        match style:
            case "queue" | "scatter":
                expert = int(rng.integers(hw.max_experts))
                return f | {"use_queue": 1, "expert": expert, "scatter": int(style == "scatter")}
            case "keep":
                return f | rows | {"keep": 1, "ring_offset": self.kept}
            case "kept":
                room = self.kept - f["tiles"] * each
                return f | rows | {"keep": 1, "bytes": 0, "ring_offset": int(rng.integers(room + 1))}
            case "pop":
                return f | rows | {"bytes": 0}
        return f | rows

    def code(self, length: int, *, end: bool = True) -> list[bytes]:
        self.kept = 0
        ops = [op for op in Op if op != Op.END] + 2 * [Op.MATMUL]
        code = [self.instruction(ops[int(self.rng.integers(len(ops)))]) for _ in range(length)]
        return code + [self.instruction(Op.END)] * end

    def registers(self, code: list[bytes], entry: int = 0, **more: int) -> dict[str, int]:
        entry += TABLES
        bases = [f"{name}_base" for name in REGIONS]
        bases += [f"weights_base{port}" for port in range(1, self.hw.weight_ports)]
        r = {name: int(self.rng.integers(1 << 56)) * 64 for name in bases}
        r |= {f"{name}_size": 1 << 14 for name in REGIONS}
        r |= {"entry": entry, "batch": 1, "input_stride": 0, "output_stride": 0, "watchdog": 0}
        return r | {"program_size": entry + BYTES * len(code)} | more


class Routing:
    """Lengths of the experts' queues after so many ROUTEs: random, some empty, or all `fill`."""

    def __init__(self, hw: HwParams, rng: np.random.Generator, fill: int | None = None) -> None:
        self.hw, self.rng, self.fill, self.lengths = hw, rng, fill, []

    def length(self, routed: int, expert: int) -> int:
        while len(self.lengths) <= routed:
            lengths = self.rng.integers(1, self.hw.max_tokens + 1, self.hw.max_experts)
            lengths[self.rng.random(self.hw.max_experts) < 0.4] = 0
            self.lengths.append(lengths if self.fill is None else np.full_like(lengths, self.fill))
        return int(self.lengths[routed][min(expert, self.hw.max_experts - 1)])

    def run(self, code, r):
        """Events of a run without faults of the ports: ("fetch", address, limit), ("read", ...), ("write", ...) and
        ("run", number, ports started, instruction, rows or None, fetched) per instruction. Also the error code with
        the number of its instruction, and, image by image, the fetch's decisions on weights."""
        events, decisions, routed = [], [], 0
        if error := refusal(r):
            return events, (error, 0), decisions
        for image in range(max(r["batch"], 1)):
            limit, kept = r["program_size"] - r["entry"], 0
            events.append(("fetch", (r["program_base"] + r["entry"]) & MASK, limit))
            decisions.append([])
            for number, word in enumerate(code + [None]):
                if word is None or (number + 1) * BYTES > limit:
                    return events, (Error.PROGRAM_RANGE, number), decisions
                f = decode(word)
                if f["op"] not in list(Op):
                    return events, (Error.OPCODE, number), decisions
                op = Op(f["op"])
                if op not in (Op.END, Op.LOAD) and f["tiles"] == 0:
                    return events, (Error.FIELD, number), decisions
                if op in (Op.IMAGE, Op.LOAD, Op.STORE, Op.MATMUL):
                    region = {Op.IMAGE: "input", Op.STORE: "output", Op.LOAD: "program"}.get(op, "weights")
                    shift = image * r.get(f"{region}_stride", 0)
                    if shift + f["offset"] + f["bytes"] > r[f"{region}_size"]:
                        return events, (Error[f"{region.upper()}_RANGE"], number), decisions
                    if op == Op.STORE and r["batch"] > 1 and f["offset"] + f["bytes"] > r["output_stride"]:
                        return events, (Error.OUTPUT_STRIDE, number), decisions
                    if op == Op.MATMUL and (kept := kept_after(self.hw, f, kept)) < 0:
                        return events, (Error.NOT_FETCHED, number), decisions
                    address = (r[f"{region}_base"] + shift + f["offset"]) & MASK
                    if op == Op.STORE:
                        events.append(("write", address, f["bytes"]))
                    elif op != Op.MATMUL:
                        events.append(("read", address, f["bytes"], 1 if op == Op.IMAGE else 2))
                rows = self.length(routed, f["expert"]) if f.get("use_queue") else f.get("row_end")
                fetched = 0
                if op == Op.MATMUL and f["bytes"]:
                    fetched = int(rows > 0 or self.rng.integers(2))  # an empty queue's weights: on suspicion
                    decisions[-1].append(fetched)
                ports = () if op == Op.END or (op == Op.GATHER and not rows) else (port_of(op),)
                events.append(("run", number, ports, word, rows, fetched))
                routed += op == Op.ROUTE
                if op == Op.END:
                    break
        return events, (Error.NONE, len(code)), decisions
