"""The page of the instruction set is the one the table makes."""

from hwgen.machine.isa_doc import markdown
from tests.paths import DOCS


def test_page_is_current():
    page = DOCS / "instruction_set.md"
    assert page.read_text("utf-8") == markdown(), "run: python -m hwgen.machine.isa_doc > docs/instruction_set.md"
