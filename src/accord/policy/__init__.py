"""The policy: load, render, score and sample a language model; the reference and its cache."""
