"""Folders that ship beside the code: `conf` and `weights`, in a checkout and in an installed package."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def resource(name: str) -> Path:
    """The folder `conf` or `weights`: inside the installed package, else beside the package in a checkout.

    Raises FileNotFoundError when neither is there.
    """
    places = PACKAGE / name, PACKAGE.parent / name
    for place in places:
        if place.is_dir():
            return place
    raise FileNotFoundError(f"{name} is neither {places[0]} nor {places[1]}: install sculpt4d again")
