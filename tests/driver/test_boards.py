"""The generated Python driver, unchanged, on the Verilated accelerator: golden's bytes, and every way to fail."""

from __future__ import annotations

import asyncio
import json
import re
import shutil

import numpy as np
import pytest

from hwgen.driver.faults import faults
from hwgen.machine.isa import Op
from hwgen.machine.regmap import COUNTERS, Error
from sim import pynq
from tests.driver.boards import SCALE, SECOND
from tests.paths import MNIST


def check(acc, accelerator, task="digit", image=0) -> None:
    """An undisturbed run."""
    assert np.array_equal(acc.run(accelerator.images[image], task, raw=True), accelerator.outputs[task][image])


def test_outputs_are_those_of_the_golden_model(acc, accelerator):
    """Tasks switch between images; polling and interrupt; integers and real numbers."""
    for image in range(len(accelerator.images)):
        for task in ("digit", "segment"):
            check(acc, accelerator, task, image)
    real = acc.run(accelerator.images[1], "digit")
    assert real.dtype == np.float32
    assert np.array_equal(real, accelerator.outputs["digit"][1] * np.float32(SCALE))
    assert np.array_equal(acc.run(accelerator.images[1], "segment"), accelerator.outputs["segment"][1])
    without_channel = accelerator.images[2][..., 0]
    found = asyncio.run(acc.run_async(without_channel, "segment", raw=True))
    assert found.dtype == np.int16 and np.array_equal(found, accelerator.outputs["segment"][2])
    assert acc.counters["instructions"] == len(accelerator.first.compiled.instructions["segment"])


def test_batch(acc, accelerator, link):
    """One start; fewer images after more do not see the old ones."""
    for images in (accelerator.images, accelerator.images[2:], accelerator.images[:3]):
        for task, expected in accelerator.outputs.items():
            chosen = [next(n for n, one in enumerate(accelerator.images) if (one == image).all()) for image in images]
            assert np.array_equal(acc.run_batch(images, task, raw=True), expected[chosen])
    found = asyncio.run(acc.run_batch_async(accelerator.images, "digit", raw=True))
    assert np.array_equal(found, accelerator.outputs["digit"])
    assert not link.interrupted(10)
    del acc.interrupt  # as without an interrupt controller
    assert np.array_equal(asyncio.run(acc.run_batch_async(accelerator.images, "digit", raw=True)), found)
    assert acc.counters["instructions"] == 4 * len(accelerator.first.compiled.instructions["digit"])


def test_second_model(acc, accelerator):
    """It takes the first one's place, and gives it back; photographs, in the real unit."""
    model = acc.load(accelerator.path / "models" / SECOND)
    assert (model.name, list(model.tasks)) == (SECOND, ["digit", "segment"])
    scale = accelerator.second.model.model.scales["tasks.digit.output"]
    found = asyncio.run(acc.run_async(accelerator.digits[0], "digit"))
    assert np.array_equal(found, accelerator.digit_outputs["digit"][0] * np.float32(scale))
    acc.load(accelerator.path)
    check(acc, accelerator, "segment")


def test_counters(acc, accelerator):
    check(acc, accelerator)
    counters = acc.counters
    assert tuple(counters) == COUNTERS
    stalls = sum(value for name, value in counters.items() if name.startswith("stall_"))
    assert counters["cycles"] == counters["array_busy"] + stalls > 0
    assert counters["gmem1_write_bytes"] == accelerator.first.compiled.output_bytes["digit"]


#: Registers other than they should be: name, value by what the registers should be; the code.
REGISTERS = [
    ("entry", lambda right: right["entry"] + 64 * 1000, Error.ENTRY),
    ("entry", lambda right: right["entry"] + 32, Error.ENTRY),
    ("program_size", lambda right: right["entry"] + 64 * 3, Error.PROGRAM_RANGE),
    ("weights_size", lambda right: 0, Error.WEIGHTS_RANGE),
    ("input_size", lambda right: 0, Error.INPUT_RANGE),
    ("output_size", lambda right: 0, Error.OUTPUT_RANGE),
    ("program_base", lambda right: right["program_base"] + 8, Error.PROGRAM_BASE),
    ("weights_base", lambda right: (1 << 64) - 64, Error.WEIGHTS_BASE),
    ("input_base", lambda right: right["input_base"] + 16, Error.INPUT_BASE),
    ("output_base", lambda right: right["output_base"] + 8, Error.OUTPUT_BASE),
    ("input_stride", lambda right: 8, Error.INPUT_STRIDE),
    ("output_stride", lambda right: 8, Error.OUTPUT_STRIDE),
    ("watchdog", lambda right: 100, Error.WATCHDOG),
]
#: Programs other than they should be.
PROGRAMS = [
    (lambda accelerator: accelerator.patched(Op.IMAGE, op=0xFF), Error.OPCODE),
    (lambda accelerator: accelerator.patched(Op.NORM, tiles=0), Error.FIELD),
    (lambda accelerator: accelerator.patched(Op.MATMUL, bytes=0, offset=0), Error.NOT_FETCHED),
]
PORTS = [(0, Error.READ_GMEM0), (1, Error.READ_GMEM1), (2, Error.WRITE_GMEM1), (3, Error.READ_GMEM2)]


def said(value: object) -> str:
    """In the name of a test: the same in every process, which a function's text is not."""
    return "" if callable(value) else getattr(value, "name", str(value))


def expect(acc, driver, accelerator, job, code: Error) -> None:
    """The job ends with this code, as its exception; the code is cleared; the next run is right."""
    raised = next(getattr(driver, fault.python) for fault in faults() if fault.code == code)
    acc.start(job)
    with pytest.raises(raised) as caught:
        acc.wait(120)
    error = caught.value
    assert isinstance(error, driver.RunError) and error.code == code and error.advice in str(error)
    assert acc.read_register("error_code") == 0
    acc.write_register("watchdog", 0)
    check(acc, accelerator)


@pytest.mark.parametrize(("name", "change", "code"), REGISTERS, ids=said)
def test_wrong_registers(acc, driver, accelerator, name, change, code):
    job = acc.prepare(accelerator.images[:1], "digit")
    job.registers[name] = change(job.registers)
    expect(acc, driver, accelerator, job, code)


@pytest.mark.parametrize(("program", "code"), PROGRAMS, ids=said)
def test_wrong_programs(acc, driver, accelerator, program, code):
    job = acc.prepare(accelerator.images[:1], "digit")
    data = program(accelerator)
    region = pynq.allocate((len(data),), np.uint8)
    region[:] = np.frombuffer(data, np.uint8)
    region.flush()
    job.registers.update(program_base=region.device_address, program_size=len(data))
    expect(acc, driver, accelerator, job, code)


@pytest.mark.parametrize(("port", "code"), PORTS)
def test_error_responses(acc, driver, accelerator, link, port, code):
    job = acc.prepare(accelerator.images[:1], "digit")
    link.fault(port, 0)
    expect(acc, driver, accelerator, job, code)


def test_every_code_of_a_host_is_here():
    """Beside the stop, and the port that owes data, below. A port that never answers is all that starves a MATMUL."""
    tried = {code for *_, code in [*REGISTERS, *PROGRAMS, *PORTS]} | {Error.STOPPED, Error.PORTS}
    left = {error.name for error in set(Error) - tried - {Error.NONE}}
    assert left <= {"STARVED", "READ_GMEM2", "READ_GMEM3", "READ_GMEM4"}


def test_clear(acc, driver, accelerator, monkeypatch):
    """A program of its own, between runs; a build may come without."""
    check(acc, accelerator)
    acc.clear()
    assert acc.read_register("instructions") > 10
    check(acc, accelerator)
    monkeypatch.setattr(acc.model, "clear", None)
    with pytest.raises(driver.UnknownTask, match=r"built without `clear: true`"):
        acc.clear()


def test_stop(acc, driver, accelerator):
    acc.start(acc.prepare(accelerator.images, "digit"))
    with pytest.raises(driver.Busy):
        acc.start(acc.prepare(accelerator.images, "digit"))
    with pytest.raises(driver.Busy):
        acc.load(accelerator.path)
    acc.stop()
    assert acc.idle and acc.read_register("error_code") == Error.STOPPED
    check(acc, accelerator)


def test_timeout(acc, driver, accelerator):
    """A run that would not end is stopped; the next one is right at once. Polling and interrupt."""
    endless = accelerator.patched(Op.ATTENTION, k_steps=0xFFFF, tiles=0xFFFF)
    correct = acc._program.tobytes()
    for interrupt in (False, True):
        job = acc.prepare(accelerator.images[:1], "digit")
        pynq._link().write(job.registers["program_base"], endless)
        acc.start(job, interrupt=interrupt)
        wait = (lambda: asyncio.run(acc.wait_async(0.3))) if interrupt else (lambda: acc.wait(0.3))
        with pytest.raises(driver.Timeout, match=r"0\.3 s; stopped with code 12 in instruction \d+ after \d+ cyc"):
            wait()
        pynq._link().write(job.registers["program_base"], correct)
        check(acc, accelerator, "segment")
    assert issubclass(driver.Timeout, TimeoutError)


def test_memory_that_does_not_answer(acc, driver, accelerator, link):
    """The watchdog ends the run; starts are refused until the memory has answered, or after a reset."""
    for way_out in (lambda: link.mute(False), link.reset):
        job = acc.prepare(accelerator.images[:1], "digit")
        acc.write_register("watchdog", 5000)
        link.mute()
        acc.start(job)
        with pytest.raises(driver.WatchdogError):
            acc.wait(120)
        with pytest.raises(driver.PortsError, match="to do: start again once the memory has answered, or reset"):
            acc.run(accelerator.images[0], "digit")
        link.mute(False)
        way_out()
        acc.idle  # noqa: B018 simulated time passes
        acc.write_register("watchdog", 0)
        check(acc, accelerator)


def test_unplugged(acc, driver, accelerator, link):
    """Before it is opened, and while it runs."""
    link.unplug()
    with pytest.raises(driver.NoDevice, match=r"nothing answers: .*magic reads 0xffffffff\n  to do: load the bit"):
        pynq.Overlay("design.bit").hwgen_accelerator_0  # noqa: B018
    with pytest.raises(driver.NoDevice):
        acc.run(accelerator.images[0], "digit")
    link.unplug(False)
    job = acc.prepare(accelerator.images, "segment")
    acc.start(job)
    link.unplug()
    with pytest.raises(driver.NoDevice):
        acc.wait()
    link.unplug(False)
    acc.stop()
    check(acc, accelerator)


@pytest.mark.parametrize(("register", "value", "raised", "text"), [
    ("magic", 0x12345678, "NotHwgen", "register magic reads 0x12345678"),
    ("version", 5, "OtherVersion", "accelerator 5, driver"),
])  # fmt: skip
def test_another_circuit(driver, monkeypatch, link, register, value, raised, text):
    offset, read = driver.accelerator.reg.REGISTERS[register][0], link.read32
    monkeypatch.setattr(link, "read32", lambda at: value if at == offset else read(at))
    with pytest.raises(getattr(driver, raised), match=text):
        pynq.Overlay("design.bit").hwgen_accelerator_0  # noqa: B018


def test_no_accelerator_in_the_overlay(driver, monkeypatch):
    monkeypatch.setattr(driver.overlay, "VLNV", "another:ip:one:1.0")
    with pytest.raises(driver.NoDevice, match=r"no another:ip:one:1\.0 in design\.bit; it has hwgen_accelerator_0"):
        driver.HwgenOverlay("design.bit")


def test_files_of_another_build_or_model(acc, driver, accelerator, tmp_path):
    """Each is refused, and the model before is still there."""
    copy = accelerator.part(tmp_path / "copy")
    weights, manifest = copy / "weights0.bin", copy / "manifest.json"
    right = weights.read_bytes()

    def refused(raised: type[Exception], text: str) -> None:
        with pytest.raises(raised, match=text):
            acc.load(copy)
        check(acc, accelerator)

    weights.write_bytes(right[:-64])
    refused(driver.WrongFiles, rf"weights0.bin has {len(right) - 64} bytes, not {len(right)}")
    weights.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    refused(driver.WrongFiles, "weights0.bin has other contents than .*manifest.json says\n  to do: copy program")
    shutil.copy(copy / "models" / SECOND / "weights0.bin", weights)
    refused(driver.WrongFiles, "weights0.bin has")
    weights.unlink()
    refused(driver.WrongFiles, "weights0.bin is missing")
    weights.write_bytes(right)
    text = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(text | {"build_hash": "0x0123456789abcdef"}))
    refused(driver.OtherBuild, rf"bitstream {text['build_hash']}, .*copy 0x0123456789abcdef")
    manifest.write_text("{")
    refused(driver.WrongFiles, "manifest.json: Expecting")
    manifest.unlink()
    refused(driver.WrongFiles, "is not in a directory written by `hwgen build`: no manifest.json")


def test_weights_over_several_ports(acc, accelerator, link):
    """Each port's share is a file, a buffer and a register; the size is that of all."""
    acc.load(accelerator.path)
    job = acc.prepare(accelerator.images[:1], "digit")
    assert job.registers["weights_size"] == (accelerator.path / "weights.bin").stat().st_size
    for name, file in (("weights_base", "weights0.bin"), ("weights_base1", "weights1.bin")):
        share = (accelerator.path / file).read_bytes()
        assert link.read(job.registers[name], len(share)) == share


def test_wrong_images_and_tasks(acc, driver, accelerator):
    image = accelerator.images[0]
    for wrong in (image.astype(np.float32), image[:, :-1], image.transpose(1, 0, 2), image[0], image[None]):
        with pytest.raises(driver.WrongInput, match=re.escape("expected uint8 [n, 4, 6, 1]")):
            acc.run(wrong, "digit")
    with pytest.raises(driver.WrongInput):
        acc.run_batch(accelerator.images[:0], "digit")
    with pytest.raises(ValueError):
        acc.run(image[:1], "digit")
    for task in (None, "depth"):
        with pytest.raises(driver.UnknownTask, match=f"{task!r}; small has digit, segment"):
            acc.run(image, task)
    acc.close()
    with pytest.raises(driver.NotLoaded):
        acc.run(image, "digit")


def test_hung(acc, driver, accelerator, link, monkeypatch):
    """It does not become idle: as if the stop bit were not there."""
    acc.start(acc.prepare(accelerator.images[:1], "digit"))
    monkeypatch.setattr(driver.accelerator, "STOP_SECONDS", 0.01)
    offset, read = driver.accelerator.reg.REGISTERS["ctrl"][0], link.read32
    monkeypatch.setattr(link, "read32", lambda at: 1 if at == offset else read(at))
    with pytest.raises(driver.Hung, match="did not stop\n  to do: reset"):
        acc.wait(0.0)


def test_each_code_is_an_exception(acc, driver, accelerator, link, monkeypatch):
    """Of the table, whoever may provoke it; and a code that is not in it."""
    acc.start(acc.prepare(accelerator.images[:1], "digit"))
    acc.wait()
    offset, read = driver.accelerator.reg.REGISTERS["error_code"][0], link.read32
    for code in [*(error.value for error in Error if error), 99]:
        monkeypatch.setattr(link, "read32", lambda at, code=code: code if at == offset else read(at))
        with pytest.raises(driver.RunError) as caught:
            acc._check()
        if code == 99:
            assert type(caught.value) is driver.RunError and "code 99, instruction 0" in str(caught.value)
        else:
            names = "".join(word.capitalize() for word in Error(code).name.split("_"))
            assert type(caught.value).__name__ == f"{names}Error"


def test_buffers_are_flushed_and_freed(acc, accelerator, link, monkeypatch):
    """Not for nothing: without `flush` the accelerator sees what was there before."""
    check(acc, accelerator)
    monkeypatch.setattr(pynq.PynqBuffer, "flush", lambda self: None)
    assert not np.array_equal(acc.run(accelerator.images[1], "digit", raw=True), accelerator.outputs["digit"][1])
    monkeypatch.undo()
    acc.close()
    assert sum(pynq._State.free.values()) == 64 << 20


def test_misaligned_buffer(acc, driver, accelerator, monkeypatch):
    def allocate(shape, dtype):
        buffer = pynq.allocate((shape[0] + 8,), dtype)[8:]
        assert buffer.device_address % 64 == 8
        return buffer

    monkeypatch.setattr(driver.accelerator, "allocate", allocate)
    with pytest.raises(driver.BadBuffer, match="address 0x8"):
        acc.run_batch(accelerator.images[:3], "digit")


def test_several_images_a_run(driver, accelerator, tmp_path):
    """Layout of a build with `batch`: that of the compiler."""
    from hwgen.compiler import compile_model

    model = driver.Model(accelerator.path)
    compiled = compile_model(accelerator.first.model, accelerator.first.params, batch=1)
    assert model.input_stride == 64 and compiled.image_stride == 64
    compiled = compile_model(accelerator.first.model, accelerator.first.params.__class__(t=4, c=4, k=4), batch=3)
    model.batch = 3
    model.map["input"] |= {"bytes": compiled.input_bytes, "image_pitch": compiled.image_stride}
    model.input_stride = -(-compiled.input_bytes // 64) * 64
    images = accelerator.images
    region = np.full(2 * model.input_stride, 99, np.uint8)
    model.pack(images, region)
    for run, chosen in enumerate(([0, 1, 2], [3, 3, 3])):
        packed = compiled.pack_input(images[chosen])
        for slot in range(3):
            at = slot * compiled.image_stride
            size = images[0].size
            assert region[run * model.input_stride :][at : at + size].tobytes() == packed[at : at + size]
    size = compiled.output_bytes["segment"]  # and behind that what the accelerator spills
    task = {"output": {"bytes": size + 200, "rows": 6, "columns": 6, "row_pitch": size // 18}}
    stride = model.output_stride(task)
    raw = np.random.default_rng(1).integers(0, 256, 2 * stride, np.uint8)
    expected = np.concatenate([compiled.unpack_output("segment", raw[run * stride :].tobytes()) for run in range(2)])
    assert np.array_equal(model.unpack(task, raw, 4), expected[:4])


def test_example(accelerator, importable, capsys):
    """A PYNQ script on a simulated board: digit and segmentation of the first test image."""
    path, script = accelerator.path / "models" / SECOND, MNIST / "host" / "mnist.py"
    assert pynq.main([str(accelerator.path), str(script), str(path), "design.bit", "0", "1"]) == 0
    out = capsys.readouterr().out
    logits = accelerator.digit_outputs["digit"][0, 0]
    scale = accelerator.second.model.model.scales["tasks.digit.output"]
    assert f"digit: {logits.argmax()}, logit {logits.max() * scale:.3f}; the label says {logits.argmax()}" in out
    classes = accelerator.digit_outputs["segment"][0].argmax(1).reshape(7, 7)
    assert "\n".join(" ".join("." if one == 10 else str(one) for one in row) for row in classes) in out
    assert re.search(r"^\d+\.\d frames per second$", out, re.M)
    assert re.search(r"^gmem1_write_bytes +\d+$", out, re.M)
