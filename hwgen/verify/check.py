"""A case on its machine: compiled, simulated in the Verilator harness, every tensor compared with the golden model."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hwgen.build import Build, build_hash
from hwgen.common.errors import HwgenError
from hwgen.common.templates import templates
from hwgen.compiler import compile_model
from hwgen.machine.emission import Emission
from hwgen.machine.params import HwParams
from hwgen.machine.regmap import c_header
from hwgen.rtl.emit import accelerator_verilog
from hwgen.verify.draw import Case
from sim.harness import Harness, build_harness
from sim.hazards import find_hazards
from sim.simulate import TaskReport, simulate

__all__ = ["Bench", "Fault", "bench"]


@dataclass(frozen=True)
class Fault:
    """What is wrong. kind: by it the minimised case is known to be of the same fault; `crash ...`: hwgen itself."""

    kind: str
    text: str


@dataclass(frozen=True)
class Bench:
    """A machine's sources in a directory as a build has them, and its simulator."""

    path: Path
    params: HwParams
    emission: Emission
    harness: Harness

    def fault(self, case: Case) -> Fault | None:
        """None: all bits agree, no cycle is unexplained, no instruction can overtake another that it needs.

        Raises HwgenError where nothing can be said, as on a full disk."""
        try:
            compiled = compile_model(case.network, self.params, batch=case.batch)
            for task, entry in compiled.entries.items():
                for hazard in find_hazards(self.params, compiled.program, entry):
                    return Fault("hazard", f"task {task}: {hazard}")
            made = Build(self.path, {"rtl": self.emission.as_dict()}, self.params, case.network, compiled)
            report = simulate(made, case.images, timing=case.timing, machine=self.harness)
        except (OSError, MemoryError) as error:
            raise HwgenError(str(self.path), expected="room for a simulation", found=str(error),
                             mend="start again when there is: what was found so far is kept") from None  # fmt: skip
        except HwgenError as error:
            return Fault(type(error).__name__, error.text())
        except Exception as error:  # whatever it is, it is what is looked for
            return Fault(f"crash {type(error).__name__}", f"{type(error).__name__}: {error}")
        for one in report.tasks.values():
            if one.first_difference is not None:
                return Fault("difference", one.first_difference)
            if (wrong := _unexplained(one)) is not None:
                return Fault("counters", f"task {one.task}: {wrong}")
        return None


def _unexplained(task: TaskReport) -> str | None:
    """Each cycle has a cause, and one only."""
    counted = sum(value for name, value in task.counters.items() if name == "array_busy" or name.startswith("stall_"))
    mean = sum(task.cycles) / len(task.cycles)
    return None if abs(counted - mean) < 1e-6 * mean else f"{mean:g} cycles, {counted:g} of them with a cause"


@contextmanager
def bench(params: HwParams, emission: Emission) -> Iterator[Bench]:
    """Its simulator is not kept: thousands of machines would fill the cache. Raises HwgenError without Verilator."""
    sources = templates() / "harness"
    with tempfile.TemporaryDirectory(prefix="hwgen-verify-") as name:
        folder = Path(name)
        verilog = accelerator_verilog(params, build_hash(params), emission)
        harness = build_harness(verilog, header=c_header(), sources=sources, emission=emission, cache=folder)
        yield Bench(folder, params, emission, harness)
