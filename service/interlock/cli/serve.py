"""`interlock serve`: read the settings and run the server."""

import sys
from collections.abc import Mapping, Sequence
from typing import Final

from interlock.cli.flags import USAGE, FlagError, HelpAskedError, make_parser, read_settings

FAILED: Final = 1
"""What tritonserver answers to flags that it does not understand, and so do we."""


def serve(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the server until it is told to stop; return the exit code."""
    try:
        settings = read_settings(arguments, environment)
    except HelpAskedError:
        sys.stdout.write(make_parser().format_help())
        return 0
    except FlagError as error:
        sys.stderr.write(
            f"Error: {error}\n{USAGE}\nTry 'interlock serve --help', or 'interlock --help'"
            " for the other verbs.\n"
        )
        return FAILED
    # The flags are right: only now is it worth loading the server.
    from interlock import app

    return app.serve(settings)
