"""One simulator run for all tests that look at it, in whichever worker of pytest-xdist they are.

The group marks of pytest-xdist 3.8 have no effect with pytest 9.2, so that tests of one design end up in
several workers.
"""

import os
import pickle
from functools import cache
from pathlib import Path
from typing import Any

from virtio_sim.build import build_root, locked, simulator
from virtio_sim.config import Configuration
from virtio_sim.hdl import generate
from virtio_sim.runner import Outcome, run

__all__ = ["shared_run"]


@cache
def shared_run(
    kind: str,
    module: str,
    configuration: Configuration,
    stall: float,
    *,
    deadline_s: float,
    driver: tuple[str, str] | None = None,
    variant: str | None = None,
    only: tuple[str, ...] = (),
) -> Outcome:
    """The outcome of ``module`` on a design; run by the first worker that asks, once per test session.

    ``driver`` is the transport and the habit of its driver, and ``variant`` the name of its variant of rings,
    where the module wants to know, and ``only`` are the cases that are run, of all that there are.
    """
    name = "-".join((configuration.name, *(driver or ()), *((variant,) if variant else ()), f"stall-{stall}"))
    directory = build_root() / kind / name
    directory.mkdir(parents=True, exist_ok=True)
    arguments: dict[str, Any] = {"configuration": configuration.as_dict(), "stall": stall, "seed": 1}
    if driver is not None:
        arguments |= {"transport": driver[0], "habit": driver[1]}
    if variant is not None:
        arguments["variant"] = variant
    if only:
        arguments["only"] = only
    with locked(directory / "session.lock"):
        return once(
            directory / "outcome", lambda: _simulate(module, configuration, arguments, directory, deadline_s)
        )


def once(path: Path, produce: Any) -> Any:
    """What ``produce`` returned to the first worker of this test session, kept in ``path``."""
    session = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"process {os.getpid()}")
    if path.exists():
        made_in, outcome = pickle.loads(path.read_bytes())
        if made_in == session:
            return outcome
    outcome = produce()
    path.write_bytes(pickle.dumps((session, outcome)))
    return outcome


def _simulate(
    module: str, configuration: Configuration, arguments: dict[str, Any], directory: Path, deadline_s: float
) -> Outcome:
    return run(
        simulator(generate(configuration), name=configuration.name),
        module,
        directory=directory,
        arguments=arguments,
        deadline_s=deadline_s,
    )
