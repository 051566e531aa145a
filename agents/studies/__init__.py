"""Studies behind the tables of the site: claims, the planner, break-even, seeds, tuning, rollout evolution."""
