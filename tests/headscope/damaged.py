"""What was stored is damaged on purpose: whatever is read is what was written, or it is refused, or made again.

Counted as in faults.py, for docs/reliability.md.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from headscope.store.canonical import digest, plain
from headscope.store.manifest import FILE, FORMAT
from headscope.store.units import UnitStore
from interp.errors import HeadscopeError, StoreError
from tests.headscope.faults import Told
from tests.headscope.store.stored import readers, write_run

Change = Callable[[bytes, random.Random], bytes | None]


def damage(folder: Path, fault: str, times: int, change: Change) -> Told:
    """Change every stored file so many times; None deletes it. Whatever is read must be what was written."""
    told = Told(fault)
    for name, read in readers(folder).items():
        path, chance = folder / name, random.Random(f"{fault} {name}")
        whole, expected = path.read_bytes(), read()
        for _ in range(times):
            content = change(whole, chance)
            path.unlink() if content is None else path.write_bytes(content)
            told.made += 1
            try:
                if read() == expected:
                    told.harmless += 1
                else:
                    told.wrong += 1
            except HeadscopeError:
                told.refused += 1
        path.write_bytes(whole)
    return told


def flipped(whole: bytes, chance: random.Random) -> bytes:
    content = bytearray(whole)
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return bytes(content)


def cut(whole: bytes, chance: random.Random) -> bytes:
    return whole[: chance.randrange(len(whole))]


def zeroed(whole: bytes, chance: random.Random) -> bytes:
    """A block that never reached the disk."""
    start = chance.randrange(len(whole))
    return whole[:start] + bytes(min(512, len(whole) - start)) + whole[start + 512 :]


def longer(whole: bytes, chance: random.Random) -> bytes:
    return whole + chance.randbytes(1 + chance.randrange(64))


KINDS: dict[str, tuple[int, Change]] = {  # a share of how often, and what is done
    "one bit flipped": (1, flipped),
    "cut short": (4, cut),
    "a block of zeros": (4, zeroed),
    "bytes behind the end": (8, longer),
}


def damages(folder: Path, times: int) -> Iterator[Told]:
    """Of a run directory, and of another one's units."""
    for fault, (share, change) in KINDS.items():
        yield damage(folder, fault, max(1, times // share), change)
    yield damage(folder, "deleted", 1, lambda whole, chance: None)
    yield swaps(folder)
    yield foreign(folder)
    yield from unit_damages(folder.with_name("units-of"), times)


# ---- units ----------------------------------------------------------------------------------------------------------


def unit_damages(home: Path, times: int) -> Iterator[Told]:
    """Units are made again where they are not what was written: by the same call that reads them otherwise."""
    home.mkdir()
    store = UnitStore(home / "units", {"identity": {"source": "tiny"}, "versions": {"torch": "1"}})
    keys = [{"what": "scores", "number": number} for number in range(4)]
    for key in keys:
        store.put(key, unit(key))
    for fault, (share, change) in KINDS.items():
        yield damage_units(store, keys, f"a unit: {fault}", max(1, times // share), change)
    yield damage_units(store, keys, "a unit: deleted", 1, lambda whole, chance: None)
    yield swapped_units(store, keys)


def unit(key: dict[str, Any]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(key["number"])
    return {"a": torch.rand(3, 2, generator=generator), "b": torch.arange(4) + key["number"]}


def damage_units(store: UnitStore, keys: list[dict[str, Any]], fault: str, times: int, change: Change) -> Told:
    """Every unit so many times."""
    told = Told(fault)
    for key in keys:
        path, chance = store.path(key), random.Random(f"{fault} {key}")
        whole = path.read_bytes()
        for _ in range(times):
            content = change(whole, chance)
            path.unlink() if content is None else path.write_bytes(content)
            asked_again(store, key, told)
    return told


def swapped_units(store: UnitStore, keys: list[dict[str, Any]]) -> Told:
    """Every unit in the place of every other, and of one by other versions of the same key."""
    told = Told("a unit: exchanged for another")
    other = UnitStore(store.folder.with_name("other-units"), {**store.common, "versions": {"torch": "2"}})
    other.folder.mkdir()
    for key in keys:
        other.put(key, unit({"number": key["number"] + 100}))
    contents = [held.path(key).read_bytes() for held in (store, other) for key in keys]
    for key in keys:
        whole = store.path(key).read_bytes()
        for content in (it for it in contents if it != whole):
            store.path(key).write_bytes(content)
            asked_again(store, key, told)
    return told


def asked_again(store: UnitStore, key: dict[str, Any], told: Told) -> None:
    """What `get_or_compute` gives must be what was stored at first, made anew or not."""
    made: list[int] = []

    def compute() -> dict[str, torch.Tensor]:
        made.append(1)
        return unit(key)

    told.made += 1
    found, expected = store.get_or_compute(key, compute), unit(key)
    same = found.keys() == expected.keys() and all(
        found[name].dtype == value.dtype and torch.equal(found[name], value) for name, value in expected.items()
    )
    told.wrong += not same
    told.mended += same and bool(made)
    told.harmless += same and not made


# ---- whole files ----------------------------------------------------------------------------------------------------


def swaps(folder: Path) -> Told:
    """Every file in the place of every other, and of another run's of the same model."""
    told, asked = Told("exchanged for another file"), readers(folder)
    other = write_run(folder.with_name("other"), heads=2)
    contents = {f"own {name}": (folder / name).read_bytes() for name in asked}
    contents |= {f"other {name}": (other / name).read_bytes() for name in readers(other)}
    for name, read in asked.items():
        whole, expected = (folder / name).read_bytes(), read()
        for content in (it for it in contents.values() if it != whole):
            if name == FILE and content == (other / FILE).read_bytes():
                continue  # another run's manifest: then every file is refused, and the manifest is that run's
            (folder / name).write_bytes(content)
            told.made += 1
            try:
                told.wrong += read() != expected
            except HeadscopeError:
                told.refused += 1
        (folder / name).write_bytes(whole)
    return told


def foreign(folder: Path) -> Told:
    """Manifests of other formats, and of this one with a value of another type in every place."""
    told = Told("a manifest of another format or type")
    whole = (folder / FILE).read_bytes()
    content = json.loads(whole)
    variants = [{**content, "format": value} for value in (0, 2, 99, "1", None, True, 1.5)]
    for name in content:
        variants += [{**content, name: value} for value in (None, 7, "text", [], {}, [None], {"a": []})]
    for name in content["stages"][0]:
        for value in (None, -7, "\ud800", [None], {"a": [[]]}):
            variants.append({**content, "stages": [{**content["stages"][0], name: value}]})
    for variant in (it for it in variants if it != content):
        rest = {name: value for name, value in variant.items() if name != "sha256"}
        try:
            sealed = {**rest, "sha256": digest(rest)}
        except HeadscopeError:
            sealed = rest
        (folder / FILE).write_text(json.dumps(sealed))
        told.made += 1
        try:
            identity, stages = readers(folder)[FILE]()
        except StoreError:
            told.refused += 1
            continue
        # Right types, another protocol's name say: then all of it is read as it stands there, or it is wrong.
        read = [plain(identity), [plain(asdict(stage)) for stage in stages]]
        same = type(variant["format"]) is int and variant["format"] == FORMAT
        same = same and read == [variant["identity"], variant["stages"]]
        told.harmless += same
        told.wrong += not same
    (folder / FILE).write_bytes(whole)
    return told
