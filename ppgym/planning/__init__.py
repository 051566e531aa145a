"""The planner: belief, search, pruning and explanation. Agents that use it are in `agents`."""
