"""Training: collate, step, loop, checkpoint; from Groups to a run directory."""
