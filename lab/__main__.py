"""python -m lab: start, stop and look at the lab."""

from __future__ import annotations

import sys

from lab.cli import main

sys.exit(main())
