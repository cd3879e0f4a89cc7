"""`hwgen doctor`."""

from __future__ import annotations

import typer
from rich.markup import escape

from hwgen.cli.console import out


def doctor() -> None:
    """Look for the tools and say how to get what is missing."""
    from hwgen.common.doctor import examine

    findings = examine()
    for finding in findings:
        mark = "[green]ok[/]     " if finding.ok else "[red]missing[/]" if finding.required else "[yellow]absent[/] "
        out.print(f"{mark} {finding.name:<15} {escape(finding.found)}", soft_wrap=True, highlight=False)
        if finding.mend:
            out.print(f"        {'':<15} -> {escape(finding.mend)}", soft_wrap=True, highlight=False)
    if any(finding.required and not finding.ok for finding in findings):
        raise typer.Exit(2)
