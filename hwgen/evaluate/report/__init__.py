"""What quantization costs: the integer model of a description beside the float network it was made from.

`report` runs both on the same images and compares, tensor by tensor, the real values that the codes stand for.
"""

from hwgen.evaluate.report.measure import report
from hwgen.evaluate.report.result import Report

__all__ = ["Report", "report"]
