"""What a run directory is made of: manifest, tables, items, units, each a file that is whole or not there.

`headscope.store.run` is the door to it.
"""
