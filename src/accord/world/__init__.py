"""Tidewater, the embedded world: a town with an exact oracle, a flawed corpus, annotators and a small base model."""
