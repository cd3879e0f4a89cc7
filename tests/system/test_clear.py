"""The clearing program on the emitted Verilog: no memory keeps anything of the run before it."""

import re

import numpy as np

from hwgen.compiler import compile_model
from hwgen.machine.emission import TOP
from hwgen.machine.isa import BYTES
from sim.harness import Job, Probe, Timing
from tests.random_model import random_description, random_images
from tests.system.helpers import harness, verilog
from tests.system.test_models import HARDWARE


def memories(text: str, top: str) -> dict[str, tuple[int, int]]:
    """Of every `hwgen_ram`: its path from `top` on, words and bits."""
    modules = dict(re.findall(r"^module (\w+)\(.*?\);\n(.*?)^endmodule", text, re.S | re.M))
    instance = re.compile(r"^  (\w+) (?:#\(\n(.*?)\n  \) )?(\w+) \(", re.S | re.M)

    def below(module: str, path: str) -> dict[str, tuple[int, int]]:
        found = {}
        for kind, parameters, name in instance.findall(modules.get(module, "")):
            if kind.startswith("hwgen_ram"):
                depth, width = (int(re.search(rf"\.{key}\(32'd(\d+)\)", parameters)[1]) for key in ("DEPTH", "WIDTH"))
                found[path + name] = depth, width
            else:
                found |= below(kind, f"{path}{name}.")
        return found

    return below(top, f"{top}.")


def test_nothing_of_a_tenant_is_left():
    """Two tenants, each on memories that begin with the same random bits."""
    hardware = HARDWARE[1]
    p, descs = hardware.works()[0].p, [random_description(seed) for seed in hardware.seeds[:2]]
    wiping = compile_model(descs[0], p, clear=True)
    last = (len(wiping.program) - wiping.clear) // BYTES - 2  # in front of END
    found = memories(verilog(p), TOP)
    assert len(found) > 3 * p.t + p.c + p.k
    everything = [Probe(path, 0, depth, width) for path, (depth, width) in found.items()]
    clear = Job(wiping.clear, b"", 0, probes="clear", memory=(wiping.program, wiping.weights))
    before, after = [], []
    for desc in descs:
        compiled, images = compile_model(desc, p), random_images(desc, 1, 5)
        data, memory = compiled.pack_input(images), (compiled.program, compiled.weights)
        jobs = [Job(entry, data, compiled.output_bytes[task], probes=task, memory=memory)
                for task, entry in compiled.entries.items()]  # fmt: skip
        probes = {task: {len(compiled.instructions[task]) - 2: everything} for task in compiled.entries}
        *runs, cleared = harness(p).run(
            [*jobs, clear], program=wiping.program, weights=wiping.weights,
            probes=probes | {"clear": {last: everything}}, timing=Timing(seed=3),
        )  # fmt: skip
        assert not any(run.error for run in (*runs, cleared))
        before.append(*runs[-1].dumps.values())
        after.append(cleared.dumps[last])
    left = [path for path, one, other in zip(found, *after, strict=True) if not np.array_equal(one, other)]
    assert left == []
    assert sum(not np.array_equal(one, other) for one, other in zip(*before, strict=True)) > len(found) // 2
