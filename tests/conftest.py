"""What every test shares: Hypothesis's settings. No test lives here."""

import os

from hypothesis import Phase, settings

settings.register_profile("ppgym", deadline=None, print_blob=True)
# A fault of the kernel can keep Hypothesis shrinking for minutes, and CI shows the seed that repeats it
settings.register_profile(
    "ci", settings.get_profile("ppgym"), phases=[phase for phase in Phase if phase != Phase.shrink]
)
settings.load_profile("ci" if os.environ.get("CI") else "ppgym")
