"""Equations as MathML, which browsers draw by themselves: no script, no font and no request.

A hook of mkdocs (mkdocs.yml). The extension `arithmatex` finds `$...$` and `$$...$$` outside code; here each becomes a
`<math>` element by latex2mathml. A formula that can't be converted stops the build.
"""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
BLOCK = re.compile(r'<div class="arithmatex">\\\[(.*?)\\\]</div>', re.DOTALL)


def on_page_content(content: str, page: Any, **ignored: Any) -> str:
    """Exchange every formula of a page."""

    def drawn(match: re.Match[str], display: str) -> str:
        return mathml(html.unescape(match[1]).strip(), display, page.file.src_uri)

    content = BLOCK.sub(lambda match: f'<div class="equation">{drawn(match, "block")}</div>', content)
    return INLINE.sub(lambda match: drawn(match, "inline"), content)


def mathml(formula: str, display: str, where: str) -> str:
    """One formula. Raises PluginError, which stops the build, for one that is no LaTeX."""
    try:
        drawn = convert(formula, display=display)
    except Exception as error:  # latex2mathml has a dozen kinds without a common parent
        raise PluginError(f"{where}: the formula {formula!r} can't be drawn: {type(error).__name__}") from error
    if "\\" in drawn:  # a command it does not know goes through as text
        raise PluginError(f"{where}: the formula {formula!r} has a command that can't be drawn")
    return drawn
