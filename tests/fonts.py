"""Two sets of fonts for browsers, so that no machine's own fonts decide what a test of a page measures.

A set is a fontconfig file (FONTCONFIG_FILE) that knows one folder of fonts and calls them by every generic name. Noto's
lines are higher than DejaVu's: 1.36 and 1.16 times the font's size.
"""

from __future__ import annotations

from pathlib import Path

FOLDERS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path.home() / ".fonts")
# name: (a file that shows where the set lies, its sans-serif, its serif)
SETS = {
    "dejavu": ("DejaVuSans.ttf", "DejaVu Sans", "DejaVu Serif"),
    "noto": ("NotoSans-Regular.ttf", "Noto Sans", "Noto Serif"),
}
GENERIC = {"sans-serif": 1, "sans": 1, "system-ui": 1, "monospace": 1, "serif": 2}


def folder_of(name: str) -> Path | None:
    """Where the set is installed; None where it is not."""
    files = (file for folder in FOLDERS if folder.is_dir() for file in folder.rglob(SETS[name][0]))
    return next((file.parent for file in files), None)


def font_config(name: str, folder: Path) -> Path | None:
    """A fontconfig file in `folder` that leaves a program this set alone; None where it is not installed."""
    fonts = folder_of(name)
    if fonts is None:
        return None
    aliases = "".join(
        f"<alias binding='same'><family>{generic}</family><prefer><family>{SETS[name][at]}</family></prefer></alias>"
        for generic, at in GENERIC.items()
    )
    head = "<?xml version='1.0'?><!DOCTYPE fontconfig SYSTEM 'urn:fontconfig:fonts.dtd'>"
    path = folder / f"{name}.conf"
    path.write_text(
        f"{head}<fontconfig><dir>{fonts}</dir><cachedir>{folder / 'cache'}</cachedir>{aliases}</fontconfig>", "utf-8"
    )
    return path
