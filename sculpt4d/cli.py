"""What a person at the command line sees when something is wrong: one line, and an exit status that is not 0."""

import functools
import os
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
TRACEBACK = "SCULPT4D_TRACEBACK"  # set to 1 to see where an error comes from


def clean_errors(main: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Turns errors that a person can mend (a wrong value, a file, a full disk, a missing package) into one line.

    Goes between `hydra.main` and the function: Hydra would print its own traceback. SCULPT4D_TRACEBACK=1 shows all.
    """

    @functools.wraps(main)
    def guarded(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            return main(*args, **kwargs)
        except (ValueError, OSError, ImportError) as error:
            if os.environ.get(TRACEBACK) == "1":
                raise
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(1) from None

    return guarded
