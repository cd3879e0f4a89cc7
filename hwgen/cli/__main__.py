"""`python -m hwgen.cli`."""

from hwgen.cli import main

main()
