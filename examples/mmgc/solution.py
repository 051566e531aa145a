"""An agent of ppgym as a submission to the ACM MM 2022 Grand Challenge.

Copy this file into a folder and give that folder to the official evaluator, from the challenge's repository:

    PYTHONPATH=/path/to/ppgym python run.py --solution /path/to/folder/ --trace low

`/path/to/ppgym` is a clone, for the agents are not part of the installed package.
"""

from agents import make_agent
from ppgym.mmgc import as_solution

Algorithm = as_solution(lambda client: make_agent("greedy", client))
