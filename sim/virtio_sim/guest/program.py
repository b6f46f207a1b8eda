"""The one program that busybox has not: ``load.c``, compiled for the guest."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from .artifacts import ArtifactError

__all__ = ["load_program"]

SOURCE = Path(__file__).with_name("load.c")
FLAGS = ("-O2", "-static", "-s")


def load_program(directory: Path) -> bytes:
    """``load`` as a static executable, made by the host's C compiler unless ``directory`` has it already."""
    compiler = os.environ.get("CC") or next(
        (name for name in ("cc", "gcc", "clang") if shutil.which(name)), None
    )
    if compiler is None:
        raise ArtifactError(
            "the guest's load generator needs a C compiler, and this host has no cc, gcc or clang"
        )
    source = SOURCE.read_bytes()
    digest = hashlib.sha256(source + repr((compiler, FLAGS)).encode()).hexdigest()[:12]
    path = directory / f"load-{digest}"
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(f".{os.getpid()}")
        command = [*compiler.split(), *FLAGS, "-o", str(new), str(SOURCE)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise ArtifactError(f"the guest's load generator does not compile: {result.stderr.strip()}")
        new.rename(path)
    return path.read_bytes()
