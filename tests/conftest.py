"""What every test shares: a fresh Numba cache and Hypothesis's settings. No test lives here."""

import atexit
import os
import shutil
import tempfile

from hypothesis import settings

# Numba's disk cache does not notice edits in the files that a function calls into, so a run never trusts an old one.
# Set before Numba is imported; workers and subprocesses inherit it and share what the run has compiled.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _cache_dir = tempfile.mkdtemp(prefix="ppgym-numba-")
    os.environ["NUMBA_CACHE_DIR"] = _cache_dir
    atexit.register(shutil.rmtree, _cache_dir, ignore_errors=True)

settings.register_profile("ppgym", deadline=None, print_blob=True)
settings.load_profile("ppgym")
