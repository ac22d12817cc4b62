"""Write the README's table and picture from a run directory: `make readme`, after `make report`.

The table is what `headscope induction` printed; the picture is that run's report in Chromium. A test compares the table
in README.md with a run of the same command.
"""

from __future__ import annotations

import sys
from pathlib import Path

import headscope

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- made by docs/readme.py -->", "<!-- end -->"
COLUMNS = {  # the class rests on the first
    "signed": ("copying", "signed"),
    "prefix matching": ("prefix_matching", ""),
    "successor": ("copying", "successor"),
    "previous token": ("previous_token", ""),
    "copying (argmax)": ("copying", "argmax"),
}
DECIMALS = 3  # the nulls of all of them show
CHROMIUM_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def table(run: headscope.Run, top: int = 12) -> str:
    """The heads with the most prefix matching: value [95% interval] (null mean) by score, and the class."""
    scores = {title: run.head_score(name, variant) for title, (name, variant) in COLUMNS.items()}
    classes = run.classes.set_index(["layer", "head"])["class"]
    lines = [f"| head | class | {' | '.join(COLUMNS)} |", f"|---|---|{'---|' * len(COLUMNS)}"]
    for head in scores["prefix matching"].top(top):
        at = (head.layer, head.head)
        cells = [cell(scores[title], at) for title in COLUMNS]
        lines.append(f"| {head.layer}.{head.head} | {classes[at] or '-'} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(score: object, at: tuple[int, int]) -> str:
    """`0.920 [0.914, 0.925] (0.004)`."""
    values = (float(getattr(score, name)[at]) for name in ("mean", "ci_low", "ci_high", "null_mean"))
    mean, low, high, null = (f"{round(value, DECIMALS) + 0.0:.{DECIMALS}f}" for value in values)  # no -0.00
    return f"{mean} [{low}, {high}] ({null})"


def replaced(text: str, inside: str) -> str:
    """The README with the marked part exchanged."""
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{inside}\n{END}{rest.split(END, 1)[1]}"


def picture(run: headscope.Run, path: Path) -> None:
    """The report's mosaic, head card and attention as a person with a wide screen sees them."""
    import os
    import shutil

    from playwright.sync_api import sync_playwright

    browser_path = os.environ.get("HEADSCOPE_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=CHROMIUM_ARGUMENTS)
        page = browser.new_page(viewport={"width": 1440, "height": 900}, device_scale_factor=1)
        page.goto((run.folder.resolve() / "report.html").as_uri())
        page.locator(".plotly .main-svg").first.wait_for()
        page.wait_for_timeout(500)
        path.parent.mkdir(parents=True, exist_ok=True)
        page.locator("section", has=page.get_by_role("heading", name="Head by head")).screenshot(path=path)
        browser.close()


def main() -> None:
    run = headscope.open_run(sys.argv[1])
    readme = ROOT / "README.md"
    readme.write_text(replaced(readme.read_text(encoding="utf-8"), table(run)), encoding="utf-8")
    picture(run, ROOT / "docs" / "images" / "report.png")


if __name__ == "__main__":
    main()
