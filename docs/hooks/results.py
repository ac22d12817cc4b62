"""Published studies in the navigation: every page that `headscope study --publish docs/results/MODEL` has written.

A hook of mkdocs (mkdocs.yml).
"""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig

FOLDER, PAGE = "results", "README.md"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """One entry a model, in front of the last of the navigation."""
    pages = sorted(Path(config.docs_dir, FOLDER).glob(f"*/{PAGE}"))
    if pages and config.nav is not None:
        found = [{page.parent.name: page.relative_to(config.docs_dir).as_posix()} for page in pages]
        config.nav.insert(len(config.nav) - 1, {"Results": found})
    return config
