"""Writes or checks a golden folder: python tests/released/generate.py OUTPUT [--seed N] | --check FOLDER."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from released.generate_check import check
from released.generate_folder import write_folder


def main() -> None:
    """Even seeds give the first set of options, odd seeds the second; a check exits with 1 past any tolerance."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, nargs="?", help="folder to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--check", type=Path, metavar="FOLDER", help="recompute every output of this folder instead")
    arguments = parser.parse_args()
    if (arguments.output is None) == (arguments.check is None):
        parser.error("give a folder to write, or --check and a folder to check")
    if arguments.output:
        return write_folder(arguments.output, arguments.seed)
    found = check(arguments.check)
    for name, worst in found.items():
        print(f"{name:30} {worst.difference:8.2g} of {worst.tolerance:8.2g}  {worst.entry}")
    sys.exit(any(worst.share > 1 for worst in found.values()))


if __name__ == "__main__":
    main()
