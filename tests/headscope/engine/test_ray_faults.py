"""--engine ray under faults, in real stages: a killed driver, killed workers; the same tables, nothing done twice."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.headscope import tiny

if find_spec("ray") is None:
    pytest.skip("ray is not installed: pip install '.[ray]'", allow_module_level=True)
psutil = pytest.importorskip("psutil")

from headscope.engine.ray import RayEngine  # noqa: E402
from tests.headscope.engine import ray_kills  # noqa: E402
from tests.headscope.engine.ray_kills import HOW, OnRay, workers_below  # noqa: E402
from tests.headscope.faults import Told  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.longest]
KILLS = 20


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with ray_kills.one_thread():
        yield


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def undisturbed(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return ray_kills.without_workers(model_folder, tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize("name", HOW)
def test_a_killed_driver_leaves_nothing_and_its_work_is_kept(
    name: str, model_folder: Path, undisturbed: dict[str, Path], tmp_path: Path
) -> None:
    """SIGKILL half-way; the same command again: the same tables, no stored unit made again, no process of Ray left."""
    told = ray_kills.killed_drivers(name, model_folder, undisturbed, tmp_path, [0.5])
    assert told == Told(ray_kills.DRIVERS, made=1, mended=1)


def test_a_worker_killed_in_a_stage_changes_nothing(
    model_folder: Path, undisturbed: dict[str, Path], tmp_path: Path
) -> None:
    command = OnRay("prune", model_folder, undisturbed, tmp_path / "run")
    with command.until(0.25) as (driver, said):
        workers_below(psutil.Process(driver.pid))[0].kill()
        driver.wait()
    assert driver.returncode == 0 and "a worker died; its units run elsewhere" in said.read_text(), said.read_text()
    assert command.ended_as_undisturbed()


@pytest.fixture(scope="module")
def engine(model_folder: Path) -> Iterator[RayEngine]:
    with ray_kills.at_work(model_folder) as found:
        yield found


def test_twenty_random_kills(engine: RayEngine, model_folder: Path, tmp_path: Path) -> None:
    """A worker each time, at a random unit of two stages: the same tables, twice only what was in flight."""
    told = ray_kills.killed_workers(engine, model_folder, tmp_path, KILLS)
    assert told.made >= KILLS - 2, f"{told.made} workers were killed"
    assert told == Told(ray_kills.HANDS, made=told.made, harmless=told.made)
