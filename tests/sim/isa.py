"""`simulate` with the instruction-level model in the place of the Verilog."""

from dataclasses import dataclass

import numpy as np

from hwgen.build import Build
from hwgen.machine.emission import TOP
from hwgen.rtl.emit import debug_map
from sim import simulate as module
from sim.harness import JobResult
from sim.isa_model import Machine
from sim.simulate import simulate
from tests.random_model import random_images


@dataclass
class Isa:
    """Has `Harness.run`; `spoil(job, instruction, buffer, words)` may change what is found in a buffer."""

    build: Build
    spoil: object = None
    skip: int | None = None  #: an instruction that never retires

    def run(self, jobs, *, program, weights, probes, counters, timing, trace, on_done):
        buffers = {f"{TOP}.{path}": (name, bank) for name, entry in debug_map(self.build.params).items()
                   for bank, path in enumerate(entry["paths"])}  # fmt: skip
        results = []
        for number, job in enumerate(jobs):
            machine = Machine(self.build.params, program, weights, job.input, job.output_bytes)
            dumps = {}

            def retire(index, machine=machine, dumps=dumps, job=job, number=number):
                ranges = probes.get(job.probes, {}).get(index, [])
                for probe in ranges if index != self.skip else []:
                    name, bank = buffers[probe.path]
                    words = self.words(machine, name)[bank, probe.first : probe.first + probe.count]
                    data = words.copy().view(np.uint8)[:, : -(-probe.width // 8)]
                    if self.spoil is not None:
                        self.spoil(number, index, name, data)
                    dumps.setdefault(index, []).append(data)

            output = machine.run(job.entry, retire)
            results.append(JobResult(output=output, cycles=100 + number, counters={"stalls": number}, dumps=dumps))
            on_done(number + 1)
        return results

    def words(self, machine, name):
        """A buffer's memory [banks, depth, elements of a word]; that of the queues as Router's docstring says."""
        p = self.build.params
        if name == "COUNTS":
            packed = sum(int(count) << p.row_bits * expert for expert, count in enumerate(machine.counts))
            return np.frombuffer(packed.to_bytes(64, "little"), np.uint8)[None, None]
        if name == "QUEUE":
            memory = np.zeros((p.max_experts, 1 << (p.max_tokens - 1).bit_length()), "<u8")
            memory[:, : p.max_tokens] = machine.tokens | machine.factors << p.row_bits
            return memory.reshape(1, -1, 1)
        if name == "LOGITS":  # three bytes each
            lanes = machine.logits[..., : min(p.c, p.max_experts)].astype("<i4")
            return lanes.copy().view(np.uint8).reshape(*lanes.shape, 4)[..., :3].reshape(*lanes.shape[:2], -1)
        words = getattr(machine, name.lower()).reshape(-1, *getattr(machine, name.lower()).shape[-2:])
        if name in ("Y", "H"):  # nine bits each
            bits = np.unpackbits(words.view(np.uint8).reshape(*words.shape, 2), axis=-1, bitorder="little")[..., :9]
            return np.packbits(bits.reshape(*words.shape[:-1], -1), axis=-1, bitorder="little")
        return words


def run(build, monkeypatch, isa, count=3, **options):
    monkeypatch.setattr(module, "build_harness", lambda *args, **named: isa)
    monkeypatch.setattr(module, "CHUNK", 2)
    return simulate(build, random_images(build.model, count, 3), **options)
