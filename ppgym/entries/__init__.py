"""Other people's entries of the 2022 challenge, each in a process in which nothing of ppgym is in its way."""
