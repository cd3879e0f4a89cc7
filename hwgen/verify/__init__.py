"""Random networks on random machines in front of random memories: to the bit, and what was covered."""
