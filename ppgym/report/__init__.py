"""A run as one self-contained page: leaderboard, plots with intervals, break-even map and episode player.

`results` reads the folder of a run. `tables`, `figures`, `breakeven` and `player` each make one part of the page, and
`page` fills the templates of `assets` with them. No agent is imported here: the caller hands in the function that
explains the planner's decisions.
"""

from ppgym.report.page import write_report

__all__ = ["write_report"]
