"""An agent that is told the hidden episode. It is not ranked; it shows what is left to gain."""
