"""`python -m accord` is the command line."""

from __future__ import annotations

import sys

from accord.cli.app import main

sys.exit(main())
