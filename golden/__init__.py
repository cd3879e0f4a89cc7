"""Bit-exact integer model: the specification of `docs/numerics.md` as code, one operator per file."""
