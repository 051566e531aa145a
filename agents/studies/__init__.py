"""Studies behind the site's tables: claims, the frontier, the planner, break-even, seeds, tuning, rollout evolution."""
