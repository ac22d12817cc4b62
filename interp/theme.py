"""One look for every page and figure: the palette by role in a light and a dark theme, colour scales, axes.

Figures are drawn in the light theme; pages swap the colours, one for one, when their theme changes. Every palette is
safe for colour-blind readers: hues of Okabe and Ito for lines, one hue path from the page's colour to its opposite for
magnitudes, red to blue through the page's colour for signed values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    import plotly.graph_objects as go

Theme = Literal["light", "dark"]
SERIF = "'Iowan Old Style', 'Palatino Linotype', Palatino, 'URW Palladio L', 'Book Antiqua', Georgia, serif"
SANS = (
    "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', 'Liberation Sans', Arial, sans-serif"
)

# role: (light, dark)
PALETTE: dict[str, tuple[str, str]] = {
    "paper": ("#fdfcf9", "#15171b"),
    "panel": ("#ffffff", "#1a1d22"),
    "ink": ("#1c1b19", "#ebe8e1"),
    "muted": ("#67635a", "#a39f95"),
    "rule": ("#dedad0", "#363940"),
    "grid": ("#ece9e1", "#2a2d33"),
    "accent": ("#c2410c", "#ff9a5c"),
    "blue": ("#0072b2", "#62b6ee"),
    "vermilion": ("#d55e00", "#ff8f52"),
    "green": ("#00866a", "#41cda6"),
    "purple": ("#b0568a", "#e39fc7"),
    "ochre": ("#b07d00", "#f0bd4e"),
    "sky": ("#3b93c8", "#93d0f5"),
    "grey": ("#837e73", "#9b978d"),
    "band_grey": ("rgba(131, 126, 115, 0.18)", "rgba(155, 151, 141, 0.22)"),
    "band_blue": ("rgba(0, 114, 178, 0.16)", "rgba(98, 182, 238, 0.20)"),
    "band_ochre": ("rgba(176, 125, 0, 0.15)", "rgba(240, 189, 78, 0.18)"),
}
SEQUENTIAL = {
    "light": ("#f3f1ea", "#dcebd9", "#b3dbc8", "#7cc4bf", "#46a6b9", "#2b83ad", "#255f9b", "#213d7d", "#141f4f"),
    "dark": ("#202329", "#1f3350", "#20497a", "#256595", "#2f84a3", "#4ba5a5", "#80c5a4", "#bfe1a6", "#f6f8b4"),
}
DIVERGING = {
    "light": ("#8c1d2f", "#c4514b", "#e89a80", "#f6d5c5", "#f3f1ea", "#c9dde9", "#88b5d5", "#3f7fb5", "#1b4578"),
    "dark": ("#ffb199", "#e5735f", "#a8423c", "#5e2a2c", "#202329", "#1f3a57", "#28639a", "#5c9fd6", "#b5dcff"),
}


def colour(role: str, theme: Theme = "light") -> str:
    return PALETTE[role][0 if theme == "light" else 1]


def colourscale(kind: Literal["sequential", "diverging"], theme: Theme = "light") -> list[list[Any]]:
    """Stops of a plotly colour scale."""
    stops = (SEQUENTIAL if kind == "sequential" else DIVERGING)[theme]
    return [[place / (len(stops) - 1), stop] for place, stop in enumerate(stops)]


def for_scripts() -> dict[str, Any]:
    """The palettes, and each light colour's dark one, for the scripts that draw and change a page."""
    scales = [pair for scale in (SEQUENTIAL, DIVERGING) for pair in zip(scale["light"], scale["dark"], strict=True)]
    return {
        "light": {name: pair[0] for name, pair in PALETTE.items()},
        "dark": {name: pair[1] for name, pair in PALETTE.items()},
        "sequential": SEQUENTIAL,
        "diverging": DIVERGING,
        "swaps": dict([*PALETTE.values(), *scales]),
    }


def css_variables() -> str:
    """The palette as CSS variables: of the system's theme, of the one that a person chose, of paper when printed."""
    light, dark = (
        "".join(f"--{name.replace('_', '-')}:{pair[theme]};" for name, pair in PALETTE.items()) for theme in (0, 1)
    )
    return (
        f":root{{--serif:{SERIF};--sans:{SANS};color-scheme:light;{light}}}\n"
        f":root[data-theme=dark]{{color-scheme:dark;{dark}}}\n"
        f"@media (prefers-color-scheme:dark){{:root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}\n"
        f"@media print{{:root:root:root{{color-scheme:light;{light}--paper:{colour('panel')};}}}}\n"
    )


def is_signed(values: Float[np.ndarray, "*shape"]) -> bool:
    """Whether values have two sides: anything below 0 but rounding."""
    finite = values[np.isfinite(values)]
    return bool(finite.size) and float(finite.min()) < -1e-3 * max(1e-12, float(np.abs(finite).max()))


def heat(values: Float[np.ndarray, "*shape"], *, signed: bool | None = None) -> dict[str, Any]:
    """Colour options of a heat map: a sequential scale from 0, or a diverging one centred on 0."""
    finite = values[np.isfinite(values)]
    high = float(np.abs(finite).max(initial=0.0)) or 1.0
    if is_signed(values) if signed is None else signed:
        return {"colorscale": colourscale("diverging"), "zmin": -high, "zmax": high}
    return {"colorscale": colourscale("sequential"), "zmin": 0.0, "zmax": high}


def colour_bar(title: str = "") -> dict[str, Any]:
    """A slim colour bar along the figure's height."""
    return {
        "title": {"text": title, "side": "right", "font": {"size": 11}},
        "thickness": 8,
        "outlinewidth": 0,
        "ticks": "outside",
        "ticklen": 3,
        "tickfont": {"size": 10},
        "xpad": 6,
    }


def styled(
    traces: Sequence[Any],
    *,
    x: str = "",
    y: str = "",
    title: str = "",
    height: int = 360,
    xaxis: Mapping[str, Any] | None = None,
    yaxis: Mapping[str, Any] | None = None,
    **layout: Any,
) -> go.Figure:
    """A figure in the house style: title above, legend below, thin axes; `xaxis`, `yaxis` and `layout` add to it."""
    import plotly.graph_objects as go

    ink, panel, rule = colour("ink"), colour("panel"), colour("rule")
    font = {"family": SANS, "size": 12, "color": ink}
    base = {
        "template": "none",
        "height": height,
        "font": font,
        "paper_bgcolor": panel,
        "plot_bgcolor": panel,
        "margin": {"l": 56, "r": 12, "t": 44 if title else 16, "b": 48},
        "title": {
            "text": plain_text(title),
            "font": {"size": 13},
            "x": 0,
            "xanchor": "left",
            "xref": "container",
            "y": 1,
            "yanchor": "top",
            "yref": "container",
            "pad": {"t": 12},
        },
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 0,
            "yanchor": "bottom",
            "yref": "container",
            "font": {"size": 11},
        },
        "hoverlabel": {"bgcolor": panel, "bordercolor": rule, "font": font},
    }
    axes = {"xaxis": {**_axis(x), **(xaxis or {})}, "yaxis": {**_axis(y), **(yaxis or {})}}
    return go.Figure(data=list(traces), layout={**base, **axes, **layout})


def _axis(title: str) -> dict[str, Any]:
    rule = colour("rule")
    return {
        "title": {"text": plain_text(title), "font": {"size": 12}, "standoff": 8},
        "automargin": True,
        "gridcolor": colour("grid"),
        "linecolor": rule,
        "zerolinecolor": rule,
        "zeroline": False,
        "showline": True,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": rule,
        "tickfont": {"size": 11},
    }


def bare(**more: Any) -> dict[str, Any]:
    """Axis options of a heat map: no lines, no ticks."""
    return {"showgrid": False, "showline": False, "ticks": "", **more}


def plain_text(text: str) -> str:
    """Text that plotly shows as it is: in labels it reads a few HTML tags, in hover templates `%{`."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("%{", "% {")
