"""Synthesis flows: a file per flow, `flow.py` what each must offer, `registry.py` which there are."""
