"""Describe a glTF file as text or JSON: python -m sculpt4d.gltf FILE [--clip C] [--times 0,0.5,1] [--json]."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from sculpt4d.gltf.clips import GltfClip, choose, clips
from sculpt4d.gltf.pose import Model, Tracks, pose, read_model, triangles
from sculpt4d.gltf.primitives import face_crosses

STEP = 16  # timestamps posed at once
EPILOG = """examples:
  python -m sculpt4d.gltf Fox.glb                                   what the file holds
  python -m sculpt4d.gltf Fox.glb --clip Run --times 0,0.5,1        bounds and area at three moments
  python -m sculpt4d.gltf Fox.glb --clip 2 --times 0,0.5,1 --json   the same for another program

Coordinates are those of glTF: world space, y up, units of the file. Vertices that no triangle uses do not count."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command. Errors are printed as one line on standard error, with exit status 1."""
    parser = argparse.ArgumentParser(
        prog="python -m sculpt4d.gltf",
        description="Lists the clips, skins and morph targets of an animated glTF file, and measures its surface.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help=".glb or .gltf")
    parser.add_argument("--clip", metavar="NAME|INDEX", help="clip to measure; default: the one that moves most")
    parser.add_argument(
        "--times",
        type=_seconds,
        metavar="T,T,...",
        help="seconds on the clip's own axis, where to measure; outside the clip its first or last key holds",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, with everything")
    given = parser.parse_args(_joined(sys.argv[1:] if arguments is None else arguments))
    try:
        described = describe(given.file, given.clip, given.times)
    except (ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from None
    if given.json:
        print(json.dumps(described))
        return
    print("\n".join(_lines(described)))
    if given.times is not None:
        print(json.dumps({"frames": described["frames"]}))


def describe(path: Path, clip: str | int | None = None, times: Sequence[float] | None = None) -> dict[str, Any]:
    """Return the content that the command prints.

    A file without animation has no clips and is measured in its rest pose. Raises ValueError, naming the file, when it
    cannot be read; OSError when it does not exist.
    """
    model = read_model(path)
    found = clips(model.file)
    choice = choose(model, found, clip) if found or clip is not None else None
    nodes = model.file.items("nodes")
    described: dict[str, Any] = {
        "file": str(path),
        "nodes": len(nodes),
        "vertices": sum(len(part.positions) for part in model.parts),
        "triangles": sum(len(part.faces) for part in model.parts),
        "skins": [{"name": skin.get("name"), "joints": len(skin["joints"])} for skin in model.file.items("skins")],
        "morphs": _morphs(model),
        "clips": [_clip(row, one) for row, one in enumerate(found)],
        "clip": None if choice is None else found.index(choice.clip),
        "notes": [*(choice.notes if choice else ()), *model.notes],
    }
    if times is not None:
        described["frames"] = measured(model, choice.tracks if choice else {}, np.asarray(times, np.float64))
    return described


def measured(model: Model, tracks: Tracks, times: Float[np.ndarray, " t"]) -> list[dict[str, Any]]:
    """Return bounds (lo, hi) and surface area at each time."""
    faces = triangles(model)
    used = np.unique(faces)
    rows = []
    for start in range(0, len(times), STEP):
        chunk = times[start : start + STEP]
        positions, _ = pose(model, tracks, chunk)
        for time, frame in zip(chunk, positions, strict=True):
            lo, hi = frame[used].min(axis=0), frame[used].max(axis=0)
            rows.append({"time": float(time), "lo": lo.tolist(), "hi": hi.tolist(), "area": _area(frame, faces)})
    return rows


def _area(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> float:
    return float(np.linalg.norm(face_crosses(vertices[faces]), axis=1).sum() / 2)


def _clip(row: int, clip: GltfClip) -> dict[str, Any]:
    return {
        "index": row,
        "name": clip.name,
        "start": clip.start,
        "end": clip.end,
        "duration": clip.end - clip.start,
        "moves": sorted({path for _, path in clip.targets}),
        "targets": len(clip.targets),
        "interpolations": list(clip.interpolations),
        "animations": list(clip.animations),
    }


def _morphs(model: Model) -> list[dict[str, Any]]:
    """Describe the meshes with morph targets that the scene draws."""
    found = {}
    for part in model.parts:
        if part.targets:
            row = model.file.item("nodes", part.node)["mesh"]
            mesh = model.file.item("meshes", row)
            extras = mesh.get("extras")
            names = extras.get("targetNames") if isinstance(extras, dict) else None
            found[row] = {"mesh": mesh.get("name", row), "targets": len(part.targets), "names": names}
    return list(found.values())


def _lines(described: dict[str, Any]) -> list[str]:
    lines = [
        f"{described['file']}: {described['vertices']} vertices, {described['triangles']} triangles, "
        f"{described['nodes']} nodes"
    ]
    lines += [f"  skin {skin['name'] or row}: {skin['joints']} joints" for row, skin in enumerate(described["skins"])]
    lines += [f"  morph targets of mesh {morph['mesh']}: {morph['targets']}" for morph in described["morphs"]]
    for clip in described["clips"]:
        chosen = "*" if clip["index"] == described["clip"] else " "
        lines.append(
            f"{chosen} clip {clip['index']} {clip['name'] or '(no name)'}: {clip['start']:.3f} to {clip['end']:.3f} s, "
            f"moves {clip['targets']} targets ({', '.join(clip['moves']) or 'nothing'}) by "
            f"{', '.join(clip['interpolations']) or 'nothing'}"
        )
    if not described["clips"]:
        lines.append("  no clip: the file is not animated")
    return lines + [f"  note: {note}" for note in described["notes"]]


def _joined(arguments: Sequence[str]) -> list[str]:
    """Turn `--times -1,2` into `--times=-1,2`: argparse would parse a negative time as an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--times":
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def _seconds(text: str) -> list[float]:
    try:
        times = [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of seconds such as 0,0.5,1") from error
    if not times or not np.isfinite(times).all():
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of finite seconds such as 0,0.5,1")
    return times


if __name__ == "__main__":
    main()
