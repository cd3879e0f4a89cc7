"""The second backend: the same machine as C++ for Vitis HLS."""

from hwgen.hls.emit import FOLDER, SOURCES, Depth, sources, write

__all__ = ["FOLDER", "SOURCES", "Depth", "sources", "write"]
