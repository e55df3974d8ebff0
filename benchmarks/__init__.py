"""Accord beside TRL: the same data, model and settings through both, each measurement a process of its own."""
