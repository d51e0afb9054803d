"""What the command line makes of errors and interruptions."""

from __future__ import annotations

import pytest
import typer

import mmgrec.cli.main as command_line
from mmgrec_engine.errors import DataError


def outcome(raised: BaseException, monkeypatch: pytest.MonkeyPatch) -> object:
    """Exit code of a command that raises."""

    def command() -> None:
        raise raised

    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command)
    monkeypatch.setattr("sys.argv", ["mmgrec"])
    monkeypatch.setattr(command_line, "app", app)
    with pytest.raises(SystemExit) as done:
        command_line.main()
    return done.value.code


@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [
        (DataError("no rows", remedy="add some"), 2, "error: no rows"),
        (OSError(28, "No space left on device"), 2, "check that the disk has space"),
        (KeyboardInterrupt(), 130, "run the command again to go on"),
    ],
)
def test_what_ends_a_command_is_said(
    raised: BaseException,
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert outcome(raised, monkeypatch) == code
    assert message in " ".join(capsys.readouterr().err.split())
