"""An upper bound on the return of any policy in an episode, with its proof."""
