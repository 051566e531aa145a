"""How long the standing suites of this folder run: `PPGYM_HOSTILE=100` makes a hundred times as many cases."""

import os

TIMES = int(os.environ.get("PPGYM_HOSTILE", "1"))
