"""The table of proofs behind the tests' results."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    rows = sorted(value for report in reports for key, value in report.user_properties if key == "proof")
    if not rows:
        return
    terminalreporter.section("proofs")
    terminalreporter.write_line(f"{'unit':36} {'properties':36} {'mode':6} {'depth':>5} {'seconds':>7} verdict")
    for unit, properties, mode, depth, seconds, verdict in rows:
        terminalreporter.write_line(f"{unit:36} {properties:36} {mode:6} {depth:5} {seconds:7.1f} {verdict}")
