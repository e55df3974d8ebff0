"""Verifiers: a response against the ground truth of its prompt, or against a rule.

A verifier returns 1.0 or 0.0, or a grade in between. Two things are kept apart: what the *data* lacks (no ground truth,
or one that cannot be read) is `None`, missing; what the *response* lacks (no answer found in it, an answer that hangs
the checker) is 0.0, since a policy would otherwise learn to escape its score.
"""
