"""What every test shares: no network, one thread, no surprises from hypothesis."""

from __future__ import annotations

import os

# Before any library reads them: tests run in parallel processes, each with one thread, and never reach a hub.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "agg"

from hypothesis import HealthCheck, settings

settings.register_profile(
    "accord",
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("accord")
