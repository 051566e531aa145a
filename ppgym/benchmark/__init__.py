"""The benchmark: sessions played, recorded, replayed, summarised and ranked. No policy lives here."""
