"""What is a fault, on a machine in Verilator; what is none, but ends it all."""

import os
import signal
from dataclasses import replace

import pytest

from hwgen.common.errors import HwgenError
from hwgen.compiler import compile_model
from hwgen.machine.isa import BY_NAME, BYTES, ORDER, Op, decode, encode
from hwgen.verify import check as module
from hwgen.verify import run
from hwgen.verify.check import bench
from hwgen.verify.draw import PER_MACHINE, draw_machine
from hwgen.verify.run import Outcome, Outcomes, verify
from sim.simulate import TaskReport

#: Its first machine is one of the smallest, 16 × 2 × 1; case 0 has experts.
SEED = 1


def test_faults_of_every_kind(few, monkeypatch):
    machine = draw_machine(SEED, 0)
    case = machine.cases[0]
    with bench(machine.params, machine.emission) as on:
        assert [on.fault(case) for case in machine.cases] == [None] * len(machine.cases)

        def broken(change):
            def compiled(*args, **named):
                return change(compile_model(*args, **named))

            with monkeypatch.context() as patch:
                patch.setattr(module, "compile_model", compiled)
                return on.fault(case)

        wrong = broken(lambda made: replace(made, weights=bytes(byte ^ 1 for byte in made.weights)))
        assert wrong.kind == "difference" and "must be" in wrong.text
        wrong = broken(_hurried)
        assert wrong.kind == "hazard"
        wrong = broken(lambda made: {}["x"])
        assert (wrong.kind, wrong.text) == ("crash KeyError", "KeyError: 'x'")
        hang = on.fault(replace(case, timing=replace(case.timing, watchdog=300)))
        assert hang.kind == "SimulationError" and "the program to run to its end" in hang.text
        with monkeypatch.context() as patch:
            patch.setattr(module, "simulate", lambda *args, **named: (_ for _ in ()).throw(OSError(28, "No space")))
            with pytest.raises(HwgenError, match="room for a simulation"):
                on.fault(case)


def _hurried(made):
    """All order fields say that nothing need be waited for."""
    program = bytearray(made.program)
    for task, entry in made.entries.items():
        for at in range(entry, entry + BYTES * len(made.instructions[task]), BYTES):
            fields = decode(program[at : at + BYTES])
            free = {name: (1 << BY_NAME[name].bits) - 1 for name in ORDER if name in fields}
            program[at : at + BYTES] = encode(Op(fields.pop("op")), **fields | free)
    return replace(made, program=bytes(program))


def test_cycles_without_a_cause():
    counters = {"array_busy": 60.0, "stall_norm": 30.0, "gmem0_read_bytes": 99.0}
    task = TaskReport("a", 1, cycles=[90.0, 90.0], counters=counters)
    assert module._unexplained(task) is None
    task.cycles = [100.0, 90.0]
    assert module._unexplained(task) == "95 cycles, 90 of them with a cause"


@pytest.mark.slow
def test_found_minimised_replayed(few, wrong_golden, hwgen, tmp_path, monkeypatch):
    """`hwgen verify` with a wrong golden model; with the right one the saved case is right."""
    code, out, err = hwgen("verify", "--cases", 1, "--seed", SEED, "-o", tmp_path)
    assert code == 1, (out, err)
    folder = next(tmp_path.glob("failed-*"))
    assert "difference: image 0, task" in " ".join(out.split() + err.split())
    code, out, _ = hwgen("sim", folder)
    assert code == 1 and "digit.output[0, 0] must be" in " ".join(out.split())
    monkeypatch.undo()
    code, out, _ = hwgen("sim", folder)
    assert code == 0


def test_nothing_to_find(few, hwgen, tmp_path):
    code, out, err = hwgen("verify", "--cases", 5, "--seed", SEED, "-o", tmp_path)
    text = " ".join(out.split())
    assert code == 0, (out, err)
    assert "no case fails" in text and "5 cases of seed 1 on 1 machines" in text and "cases per hour and worker" in text
    assert "stalls, %" in text and (tmp_path / "coverage.json").is_file()
    code, out, err = hwgen("verify", "--cases", 5, "--seed", SEED, "-o", tmp_path)
    assert code == 0 and "note: 5 of 5 cases are known from before" in " ".join(out.split() + err.split())


@pytest.mark.slow
def test_a_killed_worker_loses_nothing(tmp_path, monkeypatch):
    """Two processes, two machines; one process is killed when the other's machine is done."""
    store = Outcomes(tmp_path, SEED)
    pools, killed = [], []
    from hwgen.explore import run as farm

    made = farm._executor

    def executor(workers):
        pools.append(made(workers))
        return pools[-1]

    def progress(done, total):
        if pools and not killed and done < total:
            killed.append([os.kill(pid, signal.SIGKILL) for pid in list(pools[0]._processes)[:1]])

    monkeypatch.setattr(farm, "_executor", executor)
    for number in range(2 * PER_MACHINE):
        if number % PER_MACHINE > 1:
            store.known[number] = Outcome(number)
    outcomes = verify(SEED, 2 * PER_MACHINE, store, tmp_path, workers=2, progress=progress)
    assert killed and len(pools) == 2
    assert all(outcomes[number].facts for number in (0, 1, PER_MACHINE, PER_MACHINE + 1))
    assert run.FILE in {path.name for path in tmp_path.iterdir()}
