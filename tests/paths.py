"""Where things lie in the checkout, whatever room a test is in."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
EXAMPLES = ROOT / "examples"
#: The trained example: float and integer checkpoint, calibration and test images.
MNIST = EXAMPLES / "mnist_m3vit"
