"""What can go wrong between host and accelerator, and what to do about it: source of exceptions and C status codes.

Codes up to 255 are those of the register `error_code`, which `hwgen.machine.regmap` tells of; the driver's own follow.

Tested by tests/driver/test_faults.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwgen.machine.regmap import ERRORS, MENDS, Error

__all__ = ["FIRST_HOST_CODE", "HOST", "Fault", "faults"]

#: The register has eight bits.
FIRST_HOST_CODE = 256


@dataclass(frozen=True)
class Fault:
    """One way to fail: its code, its name in C, what it means, what to do; `kind`: the Python class it also is."""

    code: int
    name: str
    meaning: str
    advice: str
    kind: str = ""

    @property
    def python(self) -> str:
        """Name of its exception."""
        words = "".join(word.capitalize() for word in self.name.split("_"))
        return words + "Error" if self.code < FIRST_HOST_CODE else words


#: Found by the driver, in the order of their codes.
HOST: tuple[Fault, ...] = tuple(
    Fault(FIRST_HOST_CODE + number, *row)
    for number, row in enumerate((
        ("NO_DEVICE", "nothing answers: no such device, or its registers read as all ones",
         "load the bitstream, start its clock, check the address or the name of the device"),
        ("NOT_HWGEN", "what answers at this address is not an accelerator of hwgen",
         "check the address, and that this bitstream is loaded and no other"),
        ("OTHER_VERSION", "the accelerator has another version of the register map than this driver",
         "take the driver from the build that the bitstream was made of"),
        ("OTHER_BUILD", "the bitstream was made of another build than program and weights",
         "load the bitstream of this build, or the files of the build of this bitstream"),
        ("WRONG_FILES", "program or weights are not those that the memory map tells of",
         "copy program, weights and memory map again from one build; do not mix models"),
        ("WRONG_INPUT", "images of the wrong shape, type or number",
         "give uint8 images of the model's height, width and channels", "ValueError"),
        ("UNKNOWN_TASK", "the model has no such task", "name one of its tasks", "ValueError"),
        ("BAD_BUFFER", "a buffer is too small, or its address is not a multiple of 64",
         "allocate it with the driver's functions, as large as they say"),
        ("NOT_LOADED", "no model is loaded", "load one first"),
        ("BUSY", "the accelerator is still running", "wait for the run, or stop it"),
        ("TIMEOUT", "the run took longer than allowed; it was stopped, and the accelerator can be used again",
         "allow more time, or look at the counters for what it waits for", "TimeoutError"),
        ("HUNG", "the accelerator did not stop",
         "reset accelerator and interconnect: a memory port does not answer", "TimeoutError"),
        ("SYSTEM", "the operating system refused", "see errno; the device may need more rights", "OSError"),
    ))
)  # fmt: skip


def faults() -> list[Fault]:
    """All of them, ascending by code."""
    run = [Fault(error.value, error.name, ERRORS[error], MENDS[error]) for error in Error if error != Error.NONE]
    return [*run, *HOST]
