"""Test objects of benchmarks, which must not be trained on, and text files of object ids."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

UID = re.compile(r"[0-9a-f]{32}")  # an Objaverse id
# from test_dataset_uid.txt of yanqinJiang/Consistent4D
CONSISTENT4D = """
22bbb0b7ca4d4d63b47b1367984aa7ce 26adfd631730494ab0fc80c806eada77 29c26c661f1c47aabb245c9b2f896455
53abad43280a4b7ab26bd0e6b8dea62f 9fea6ffd67b840cb970f5b4570794709 a1c936d72a9f4fa0ac15033339bd6efe
ba7b382c918b40e6b07011da4ff3ebc0
"""
# the ObjaverseDy test objects, as listed by SV4D's authors in Stability-AI/generative-models#432
SV4D = """
02074af3625a46a3802e517f48b73e35 0ef1295d23a94017b768b65561cea4fa 26ad402043b148ddb33e1bc52a909854
30efc2fb700741bf846ea00e6e3f065f 34d16c3882f94a31bde584948883a06a 3d32db36ab6245f29fffb61483001f20
4493534bb2f8403fa3b8a2ddb968bef8 8447d936455f44b982b3489e0df686cc 8a5df6955aea41fdaa9484d7bac94a57
9cd6b8bdd29241aea779719994f4a41f ab30823b72b947bfa9e9bc6731fb95e3 b621ec8894734bc79c04338edff3cd0d
c0fcad26bbb34889b39564807eca9bce d043a031c07a49c099f4ab6c09825638 d2970c82f1e24a139599ad1c73a60523
d39a0dee0f054c21b6751f7821aa7a8e d6289a90126441c6b13fcb5ed4c647ee d662cbf69ace4d72a8e262a49aeafe7a
d825a2b557e4465dbdfb43735733f904 edec2c2e1fd74742ad0288a93301f4a1
"""
BENCHMARKS: Mapping[str, frozenset[str]] = {
    "consistent4d": frozenset(CONSISTENT4D.split()),
    "sv4d": frozenset(SV4D.split()),
}


class Listed(NamedTuple):
    """Valid lines of a list, and the faults of the others: `FILE line N` to a description."""

    lines: tuple[str, ...]
    faults: Mapping[str, str]


def read_lines(path: Path, uids: bool = False) -> Listed:
    """Read a text file with one entry per line. Ignores empty lines and text after '#'; repetitions are faults.

    With `uids`, entries are Objaverse ids, in either case and with or without .glb; all other entries are faults.
    Raises ValueError, naming the file, when it is not text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no list: a text file with one entry a line was expected ({error})") from error
    seen: dict[str, int] = {}
    faults: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        written = re.sub(r"(^|\s)#.*", "", line).strip()
        entry = _id(written) if uids else written
        where = f"{path.name} line {number}"
        if not entry:
            continue
        if uids and not UID.fullmatch(entry):
            faults[where] = f"damaged line: {written[:60]!r} is no id of 32 hexadecimal digits"
        elif entry in seen:
            faults[where] = f"repeated line: {entry!r} is in line {seen[entry]} as well"
        else:
            seen[entry] = number
    return Listed(tuple(seen), faults)


def _id(text: str) -> str:
    return text.lower().removesuffix(".glb")


def excluded_ids(benchmarks: Sequence[str], files: Sequence[Path]) -> dict[str, str]:
    """Map each excluded id to its source: the named benchmarks, and text files with one id or name per line.

    Raises ValueError for an unknown benchmark.
    """
    ids: dict[str, str] = {}
    for name in benchmarks:
        if name not in BENCHMARKS:
            raise ValueError(f"filter.benchmarks holds {name}: choose among {', '.join(BENCHMARKS)}")
        ids.update(dict.fromkeys(BENCHMARKS[name], f"the test objects of {name}"))
    for path in files:
        ids.update({_id(line): path.name for line in read_lines(path).lines})
    return ids
