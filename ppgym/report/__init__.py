"""A run as one self-contained page: leaderboard, plots with intervals, break-even map and episode player.

`results` reads what a run wrote, `tables`, `figures`, `breakeven` and `player` each make one part of the page, `page`
puts them together, and `assets` holds what a browser reads. No agent is imported here: whoever can explain a planner's
decisions hands in the function that does.
"""

from ppgym.report.page import write_report

__all__ = ["write_report"]
