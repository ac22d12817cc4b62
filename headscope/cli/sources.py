"""Is there such a model? Asked before anything heavy is loaded, so that a misspelt name is answered at once.

1. The embedded model, and whatever is a file or a folder: what is in it, `load_model` says.
2. A path to nothing: refused, with what stands beside it.
3. Anything else is an id of the hub. One that is neither kept here nor known to the hub, or that can't be asked for
   without a network, is refused, with the nearest names that are here. The hub is asked once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path

from headscope.cli.run_folders import runs_below
from headscope.cli.values import possible
from headscope.plan.shapes import known_shape
from headscope.store.names import MANIFEST
from interp.embedded import EMBEDDED
from interp.errors import ModelLoadError, quoted

SECONDS = 2.0
NEAR, VERY_NEAR = 0.6, 0.85
MOST_NAMES = 3
WAYS = "MODEL is smollm2-135m, a hub id such as facebook/opt-125m, a folder or a .gguf file"
HUB = "https://huggingface.co/"
HUB_ID = re.compile(r"[\w.-]{1,96}(/[\w.-]{1,96})?", flags=re.ASCII)
LONGEST_PATH = 300  # shown whole


def check_source(source: str, *, run_too: bool = False, shape_too: bool = False) -> None:
    """Raises ModelLoadError where there can't be such a model.

    run_too: a run directory would have done as well; shape_too: a well-known model's shape does.
    """
    if source in EMBEDDED or (shape_too and known_shape(source) is not None):
        return
    path = path_of(source)
    if possible(path) and path.exists():
        check_path(path, source)
        return
    if source.startswith(HUB):
        raise ModelLoadError(f"{source!r} is an address: of a model of the hub give {source.removeprefix(HUB)!r}")
    if is_path(source):
        raise no_such_path(path, source)
    if not HUB_ID.fullmatch(source):
        raise unknown(source, "it is no hub id either", run_too)
    if "/" not in source and get_close_matches(source.lower(), EMBEDDED, cutoff=VERY_NEAR):
        raise unknown(source, "", run_too)
    if why := hub_says(source):
        raise unknown(source, why, run_too)


def at_hand(source: str) -> bool:
    """Whether there is something of this name to read here: the embedded model, a path, or what the hub's cache has."""
    path = path_of(source)
    return source in EMBEDDED or (possible(path) and path.exists()) or source in kept()


def path_of(source: str) -> Path:
    """With `~` as the home folder, where there is one of that user's."""
    try:
        return Path(source).expanduser()
    except RuntimeError:
        return Path(source)


def check_path(path: Path, source: str) -> None:
    """Refuse a file of another kind, and a folder that is no saved model."""
    if path.is_file() and path.suffix != ".gguf":
        raise ModelLoadError(f"{source!r} is a file, and no .gguf file: give the folder of a saved Hugging Face model")
    if not path.is_dir() or (path / "config.json").is_file():
        return
    if (path / MANIFEST).is_file():
        raise ModelLoadError(f"{source!r} is a run directory, and a model is wanted: give the run with -o. {WAYS}")
    raise ModelLoadError(f"the folder {source!r} holds no config.json: it is not a saved Hugging Face model")


def is_path(source: str) -> bool:
    """Written as a path, not as a hub id; a folder of this name in front of the slash makes it one."""
    written = source.startswith((".", "~", "/")) or source.count("/") > 1 or source.endswith((".gguf", "/"))
    parent = Path(source).parent
    return written or ("/" in source and possible(parent) and parent.is_dir())


def no_such_path(path: Path, source: str) -> ModelLoadError:
    """A folder or a file that is not there."""
    kind = "file" if path.suffix == ".gguf" else "folder"
    beside: list[str] = []
    with suppress(OSError, ValueError):
        beside = [entry.name for entry in path.parent.iterdir() if not entry.name.startswith(".")]
    near = get_close_matches(path.name, beside, n=MOST_NAMES, cutoff=NEAR)
    hint = f": did you mean {' or '.join(repr(str(path.parent / name)) for name in near)}?" if near else f". {WAYS}"
    return ModelLoadError(f"there is no {kind} {quoted(source, longest=LONGEST_PATH)}{hint}")


def unknown(source: str, why: str, run_too: bool) -> ModelLoadError:
    """No such model, and what there is by nearly this name."""
    near = nearest(source, here(run_too))
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    runs = ", ".join(str(folder) for folder in runs_below(Path())) if run_too and not near else ""
    told = f" Run directories here: {runs}." if runs else ""
    what = "model or run directory" if run_too else "model"
    return ModelLoadError(
        f"no {what} {quoted(source)} found{f' ({why})' if why else ''}{hint}{'' if near else f'. {WAYS}.'}{told}"
    )


def nearest(source: str, names: Iterable[str]) -> list[str]:
    """The names most like this one, whatever their case."""
    written = {name.lower(): name for name in names}
    return [written[name] for name in get_close_matches(source.lower(), written, n=MOST_NAMES, cutoff=NEAR)]


def here(run_too: bool) -> Iterator[str]:
    """Models, and run directories, that need no network."""
    yield from EMBEDDED
    yield from kept()
    with suppress(OSError):
        yield from sorted(entry.name for entry in Path().iterdir() if (entry / "config.json").is_file())
    if run_too:
        yield from (str(folder) for folder in runs_below(Path()))
        yield from (folder.name for folder in runs_below(Path()))


def kept() -> list[str]:
    """Ids of the models in the hub's cache."""
    from huggingface_hub.constants import HF_HUB_CACHE

    prefix = "models--"
    try:
        names = sorted(os.listdir(HF_HUB_CACHE))
    except OSError:
        return []
    return [name.removeprefix(prefix).replace("--", "/") for name in names if name.startswith(prefix)]


def hub_says(source: str) -> str:
    """Why the hub's model can't be fetched; empty where it can, or where the hub was too slow to say."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled, RepositoryNotFoundError

    if source in kept():
        return ""
    try:
        get_hf_file_metadata(hf_hub_url(source, "config.json"), timeout=SECONDS)
    except GatedRepoError:
        return ""  # `load_model` says what to do
    except RepositoryNotFoundError:
        return "the hub has none of that name, or it is private and no token of yours opens it"
    except OfflineModeIsEnabled:
        return "it is not in the hub's cache, and HF_HUB_OFFLINE forbids the network"
    except Exception as error:
        if type(error).__name__ == "ConnectError":  # of httpx or of httpx2, as the hub's library is built
            return "it is not in the hub's cache, and there is no network to ask the hub"
        return ""  # whatever else goes wrong, loading meets it again and explains it
    return ""
