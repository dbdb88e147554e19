"""What this host's layers cost, measured by short programs of our own. The only part of the agent that loads the machine."""
