"""hwgen: an FPGA accelerator generator for quantized multi-task Vision Transformers with mixture-of-experts."""

__version__ = "0.1.0"
