"""The same decisions over a real link with real decoders: a feed server, a shaped link, workers that decode, a clock.

The books are core's: what happens on the wire and in the decoders sets the ends in a `State`, and the handlers of
`ppgym.core` account for them (`books.py`). Nothing here counts bytes, stalls or waste a second time.
"""
