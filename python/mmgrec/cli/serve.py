"""`mmgrec serve`: a run over HTTP."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from mmgrec.cli.output import HUMAN
from mmgrec.cli.runs import RunArgument
from mmgrec_engine.artifact import MODEL, open_folder
from mmgrec_engine.errors import ConfigError

PACKAGES = ("fastapi", "prometheus_client", "uvicorn")


def serve(
    run: RunArgument,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Per engine call; default: processors / workers."),
    ] = None,
    precision: Annotated[str, typer.Option(help="fp32, bf16 or int8.")] = "fp32",
    model_name: Annotated[str, typer.Option(help="For /v2/models/NAME.")] = "mmgrec",
    token_file: Annotated[
        Path | None,
        typer.Option(help="Token of edits; else MMGREC_SERVE_TOKEN; without one, no edits."),
    ] = None,
    batch_users: Annotated[int, typer.Option(min=1, help="Users computed together.")] = 64,
    batch_wait_ms: Annotated[
        float, typer.Option(min=0, help="How long a request may wait for company.")
    ] = 0.0,
    queued_users: Annotated[
        int, typer.Option(min=1, help="Users that may wait; more get a 429.")
    ] = 1024,
    deadline_ms: Annotated[
        float, typer.Option(min=1, help="Of requests that name none; then a 504.")
    ] = 1000.0,
    body_bytes: Annotated[int, typer.Option(min=1, help="Longest body; more get a 413.")] = 8 << 20,
    body_seconds: Annotated[
        float, typer.Option(min=0.1, help="For a head or a body to arrive; then a 408.")
    ] = 10.0,
    drain_seconds: Annotated[
        float, typer.Option(min=1, help="For requests under way, after SIGTERM.")
    ] = 30.0,
    access_log: Annotated[bool, typer.Option(help="One line of JSON per request.")] = True,
    page: Annotated[bool, typer.Option(help="The page at /, which shows histories.")] = True,
    posters: Annotated[
        Path | None, typer.Option(help="Folder of ITEM.jpg, .png or .webp for the page at /.")
    ] = None,
) -> None:
    """Serve a run over HTTP: a page at /, recommendations, live edits, metrics; see /docs.

    SIGTERM drains, SIGHUP reloads the artifact, which also happens when it changes on disk.
    """
    from mmgrec.serving.options import Limits, ServeOptions
    from mmgrec.serving.workers import bind, run_server

    _check_packages()
    open_folder(run.resolve(), MODEL)  # rather now than in a worker
    if posters is not None and not posters.is_dir():
        raise ConfigError(
            "--posters is not a folder", value=posters, remedy="give a folder of ITEM.jpg, ITEM.png"
        )
    options = ServeOptions(
        run,
        host=host,
        port=port,
        workers=workers,
        threads=threads,
        precision=precision,
        model_name=model_name,
        token=_token(token_file),
        batch_users=batch_users,
        batch_wait_ms=batch_wait_ms,
        queued_users=queued_users,
        deadline_ms=deadline_ms,
        drain_seconds=drain_seconds,
        access_log=access_log,
        page=page,
        posters=posters,
        limits=Limits(body_bytes=body_bytes, body_seconds=body_seconds),
    )
    listener = bind(host, port)
    address = listener.getsockname()
    where = f"http://{host}:{address[1]}"
    HUMAN.print(f"mmgrec serves {run} on {where}", markup=False, highlight=False, soft_wrap=True)
    code = run_server(options, listener)
    if code:
        raise typer.Exit(2)


def _check_packages() -> None:
    """Rather now than in a worker, and without importing what only workers need."""
    for name in PACKAGES:
        if find_spec(name) is None:
            raise ConfigError(
                f"serving needs a package that is not installed: {name}",
                remedy="pip install 'mmgrec-engine[serve]'",
            )


def _token(file: Path | None) -> str | None:
    if file is None:
        from mmgrec_engine.settings import settings

        secret = settings().serve_token
        if secret is None:
            return None
        return _usable(secret.get_secret_value(), "MMGREC_SERVE_TOKEN")
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot read {file}", value=error, remedy="give a file with the token to --token-file"
        ) from None
    return _usable(text.strip(), str(file))


def _usable(token: str, where: str) -> str:
    """Return a token that a header can carry; any other would refuse everybody."""
    if not token or token != token.strip() or not (token.isascii() and token.isprintable()):
        raise ConfigError(
            f"{where} holds no token that a header can carry",
            allowed="one line of ASCII letters, digits and signs",
        )
    return token
