"""Types checked at run time, one shared SmolLM2, no network: what every test of the project stands on."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:  # Workers and the programs they start share the cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # A shell that runs tests in the background has Ctrl-C ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)

from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

# Before any of the four packages is imported: each annotation, shapes included, is a check from here on.
install_import_hook(["interp", "induction", "ablation", "headscope"], "beartype.beartype")

# How fast examples run says something of the machine, not of the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

import torch

from tests.fonts import SETS, font_config

if TYPE_CHECKING:
    from interp.model import HookedModel

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> str | None:
    """The browser of the machine, or None; nothing is downloaded."""
    named = os.environ.get("HEADSCOPE_CHROMIUM")
    return named or next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)


def data_folder() -> Path | None:
    named = os.environ.get("HEADSCOPE_DATA")
    return Path(named) if named and Path(named).is_dir() else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with a reason, what this machine can't run; files with slow tests first, so that no worker ends on one."""
    without = {
        "data": None if data_folder() else "HEADSCOPE_DATA names no folder with the documents of the 14 tasks",
        "browser": None if find_chromium() else f"no Chromium: none of {', '.join(CHROMIUM_NAMES)} is on the path",
    }
    for item in items:
        for marker, reason in without.items():
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))
    long = {item.path for item in items if item.get_closest_marker("slow") or item.get_closest_marker("browser")}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="session", autouse=True)
def torch_threads() -> Iterator[None]:
    """Two threads unless OMP_NUM_THREADS says otherwise: tiny models get slower, not faster, with more."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, int(os.environ.get("OMP_NUM_THREADS", "2"))))
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def smollm2() -> HookedModel:
    """The embedded model, loaded when the first test asks for it; read-only. Its tests carry the marker `slow`."""
    import interp

    return interp.load_model("smollm2-135m")


@pytest.fixture(scope="session")
def icl14() -> Path:
    """The folder of HEADSCOPE_DATA; tests that use it carry the marker `data`."""
    folder = data_folder()
    if folder is None:
        pytest.fail("a test that uses the documents of the 14 tasks must carry the marker `data`")
    return folder


@pytest.fixture(scope="session")
def font_configs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The fontconfig file of every set of fonts that is installed."""
    folder = tmp_path_factory.mktemp("fonts")
    files = {name: font_config(name, folder) for name in SETS}
    return {name: path for name, path in files.items() if path is not None}


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any], font_configs: dict[str, Path]) -> dict[str, Any]:
    """The machine's own Chromium, in place of the one Playwright would download, with the first set of fonts."""
    sandbox = [] if os.geteuid() else ["--no-sandbox"]  # Chromium refuses to sandbox for root.
    fonts = {"FONTCONFIG_FILE": str(next(iter(font_configs.values())))} if font_configs else {}
    chosen = {"executable_path": find_chromium(), "args": sandbox, "env": {**os.environ, **fonts}}
    return {**browser_type_launch_args, **chosen}


@pytest.fixture(scope="session", params=tuple(SETS))
def lettered_browser(
    request: pytest.FixtureRequest,
    browser_type: Any,
    browser_type_launch_args: dict[str, Any],
    font_configs: dict[str, Path],
) -> Iterator[Any]:
    """A browser for each set of fonts: what a page measures must hold under both."""
    if request.param not in font_configs:
        pytest.skip(f"the fonts {SETS[request.param][1]} are not installed: `make chromium` installs them")
    fonts = {**os.environ, "FONTCONFIG_FILE": str(font_configs[request.param])}
    browser = browser_type.launch(**{**browser_type_launch_args, "env": fonts})
    yield browser
    browser.close()
