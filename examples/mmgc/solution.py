"""An agent of ppgym as a submission to the ACM MM 2022 Grand Challenge. README.md says how it is run."""

from agents import make_agent
from ppgym.mmgc import as_solution

Algorithm = as_solution(lambda client: make_agent("greedy", client))
