"""Measures what this host's layers cost, with short programs. The only part of the agent that loads the machine."""
