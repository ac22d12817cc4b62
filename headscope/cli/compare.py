"""`headscope compare`: rankings against rankings, from what is stored."""

from __future__ import annotations

import json

from headscope.cli import options as opt
from headscope.cli.run_folders import check_run
from headscope.cli.terminal import progress


def compare(folder: opt.Folder, seed: opt.Seed = 0, as_json: opt.Json = False) -> None:
    """Compare the rankings of a run with one another; no model is loaded.

    Tasks, numbers of shots, and induction heads against important heads: rank correlations with intervals, permutation
    p-values and Holm's correction, overlaps with what chance gives, and what pruning would leave of each induction
    score. Says in words what was found, and renders the report again.

    \b
      headscope induction gpt2 -o runs/gpt2      # first
      headscope importance gpt2 -o runs/gpt2     # second
      headscope compare runs/gpt2
    """
    check_run(folder, "headscope compare")
    from headscope.findings.evidence import Evidence
    from headscope.findings.ranks import sentences
    from headscope.stages.comparison import compare_rankings
    from headscope.store.run import open_run

    with progress("comparing") as tell:
        rows = compare_rankings(folder, seed=seed, progress=tell)
    page = opt.render_report(folder)
    found = list(sentences(Evidence(open_run(folder))))
    if as_json:
        print(json.dumps({"rows": len(rows), "findings": found, "report": str(page)}, indent=2))
        return
    for sentence in found:
        print(f"- {sentence}")
    print(f"{len(rows)} comparisons stored in {folder}; report: {page}")
