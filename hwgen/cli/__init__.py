"""The command line: a file per command, the application they join, and what they show (tables, progress)."""

from hwgen.cli.app import app, main

__all__ = ["app", "main"]
