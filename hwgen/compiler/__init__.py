"""Compiler: a quantized description becomes a program and packed weights for one accelerator."""

from hwgen.compiler.disassemble import disassemble
from hwgen.compiler.probes import Probe
from hwgen.compiler.program import Compiled, Instr, compile_model
from hwgen.compiler.sizing import auto_params, buffer_needs, check_fits

__all__ = ["Compiled", "Instr", "Probe", "auto_params", "buffer_needs", "check_fits", "compile_model", "disassemble"]
