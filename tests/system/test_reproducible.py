"""The same inputs give the same bytes in every process."""

import os
import subprocess
import sys

from tests.paths import ROOT

SCRIPT = """
import hashlib
from hwgen.compiler import auto_params, compile_model
from hwgen.machine.regmap import c_header
from hwgen.rtl.emit import accelerator_verilog
from tests.random_model import random_description

desc = random_description(7)
p = auto_params([desc], 4, 8, 2)
compiled = compile_model(desc, p)
for data in (accelerator_verilog(p).encode(), c_header().encode(), compiled.program, compiled.weights):
    print(len(data), hashlib.sha256(data).hexdigest())
"""


def test_generator_and_compiler():
    """Python's hashes, and so the order of its sets, are others in each process."""
    outputs = []
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        outputs.append(subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, env=environment, check=True,
                                      capture_output=True, text=True).stdout)  # fmt: skip
    assert outputs[0] == outputs[1]
    assert len(outputs[0].splitlines()) == 4
