"""Rows in, plotly out: one figure a file, listed in catalogue.py.

`draw(run, name)` is `Run.figure`; `NAMES` are the names it knows.
"""

from headscope.figures.catalogue import CATALOGUE, NAMES, Entry, Panel, draw
from headscope.figures.importance_scatter import importance_scatter
from headscope.figures.mosaic import mosaic

__all__ = ["CATALOGUE", "NAMES", "Entry", "Panel", "draw", "importance_scatter", "mosaic"]
