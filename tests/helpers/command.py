"""The command as it is called."""

import sys

import pytest
from virtio_sim import cli

__all__ = ["call"]


def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[object, str, str]:
    """Run ``virtio-endpoint`` with these arguments; exit code, output and errors."""
    monkeypatch.setattr(sys, "argv", ["virtio-endpoint", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    output = capsys.readouterr()
    return ended.value.code, output.out, output.err
