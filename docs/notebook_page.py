"""A hook of MkDocs: each notebook in docs/ is a page like the others, its links checked, its plots inside."""

from __future__ import annotations

import json
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


class Notebook(File):
    """Markdown, as far as MkDocs is concerned."""

    def is_documentation_page(self) -> bool:
        return True

    @property
    def content_string(self) -> str:
        return "\n\n".join(map(_cell, json.loads(super().content_string)["cells"]))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            files.remove(file)
            files.append(Notebook(file.src_uri, config.docs_dir, config.site_dir, config.use_directory_urls))
    return files


def _cell(cell: dict[str, Any]) -> str:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return source
    outputs = (_output(cell["id"], output) for output in cell["outputs"])
    return "\n\n".join([f"```python\n{source}\n```", *outputs])


def _output(name: str, output: dict[str, Any]) -> str:
    if output["output_type"] == "stream":
        return f"```text\n{''.join(output['text'])}```"
    return f"![What the cell `{name}` draws](data:image/png;base64,{''.join(output['data']['image/png']).strip()})"
