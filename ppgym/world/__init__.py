"""The world: networks, videos, ladders, viewers, devices and the scenario that combines them. No physics lives here."""
