"""The planner's machinery: what it believes, and how it searches. Policies built on it are in `agents`."""
