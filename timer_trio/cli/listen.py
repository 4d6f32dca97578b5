"""The command that receives callbacks."""

from __future__ import annotations

import click
import trio

from timer_trio.cli.group import version
from timer_trio.cli.trial_receiver import Reply, listen
from timer_trio.domain.signing import SecretText, Signer
from timer_trio.telemetry.output import queue_stdout


def signer(text: str) -> Signer:
    """Read a signing secret.

    Raises:
        click.BadParameter: it is none; it is not told.
    """
    try:
        return Signer(SecretText(text))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command("listen")
@click.option("--port", type=click.IntRange(0, 65535), default=9000, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option(
    "--status", type=click.IntRange(200, 599), default=200, show_default=True, help="What to answer"
)
@click.option(
    "--delay",
    type=click.FloatRange(0, 3600),
    default=0,
    show_default=True,
    help="Seconds to wait before the answer",
)
@click.option(
    "--secret",
    type=signer,
    metavar="whsec_…",
    help="Say of each callback whether it is signed with this.",
)
@version
def listen_command(port: int, host: str, status: int, delay: float, secret: Signer | None) -> None:
    """Receive callbacks, to try the service with: prints each one, and how late it came."""
    queue_stdout()
    try:
        trio.run(listen, host, port, Reply(status, delay), secret)
    except* KeyboardInterrupt:
        pass
