"""A run directory as one HTML file that works offline: page.py assembles, contents.py says what is on it.

models_page.py: several runs on one page. `render(folder)` writes `report.html` into the folder and returns its path.
"""

from headscope.report.page import render

__all__ = ["render"]
