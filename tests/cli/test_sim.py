"""`hwgen sim`: what it refuses."""

import numpy as np


def test_sim_refuses(hwgen, refused, project):
    refused("expected: a directory written by `hwgen build`", args=("sim", project))
    hwgen("build", project / "config.yaml", "-o", project / "out")
    refused("task", "found:    nothing", args=("sim", project / "out", "--task", "nothing"))
    np.savez(project / "out" / "images.npz", images=np.zeros((2, 3, 3, 1), np.uint8))
    refused("images.npz: images", "expected: uint8 [images, ", "found:    uint8 [2, 3, 3, 1]",
            args=("sim", project / "out", "--images", "2"))  # fmt: skip
