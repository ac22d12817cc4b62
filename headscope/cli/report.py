"""`headscope report`: render the page again from what is stored."""

from __future__ import annotations

from headscope.cli import options as opt
from headscope.cli.run_folders import check_run


def report(folder: opt.Folder) -> None:
    """Render report.html again from a run directory; nothing is computed.

    \b
      headscope report runs/smollm2-135m
    """
    check_run(folder, "headscope report")
    print(opt.render_report(folder))
