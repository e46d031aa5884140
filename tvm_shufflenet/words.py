"""Words of messages that depend on figures and facts."""

from __future__ import annotations

NAMED = 5  # classes of a line


def counted(number: int, noun: str) -> str:
    """The number with its noun: "1 kernel", "2 kernels"; a noun in -y becomes -ies, one in -s -ses."""
    if number == 1:
        return f"1 {noun}"
    if noun.endswith("y"):
        return f"{number} {noun[:-1]}ies"
    return f"{number} {noun}{'es' if noun.endswith('s') else 's'}"


def batch_lines(manifest: dict) -> list[str]:
    """How a library of several pictures a call goes about them; nothing of others."""
    if "batch" not in manifest:
        return []
    pictures, head = (manifest["batch"][key] for key in ("pictures", "head"))
    return [f"{pictures} pictures a call: one after the other through the first {counted(head, 'call')}, then together"]


def size_lines(manifest: dict) -> list[str]:
    """The sizes of a library of several, their functions, and the weights that they share; nothing of others."""
    return [
        f"{'x'.join(map(str, entry['size']))}: {entry['prefix']}_run; {entry['weight_bytes'] / 1e6:.2f} MB of weights"
        + (f", {entry['shared_weight_bytes'] / 1e6:.2f} MB of them those of earlier sizes" if number else "")
        for number, entry in enumerate(manifest.get("entries", ()))
    ]


def weights_line(manifest: dict) -> str:
    """Where the weights of a library are from, and of how many classes its network is; `origin_notes` say more."""
    names, shapes = manifest.get("class_names") or [], [port["shape"] for port in manifest["outputs"]]
    told = [manifest["weights"]["source"]]
    if len(shapes) == 1 and len(shapes[0]) > 1 and list(shapes[0][2:]) in ([], [1, 1]):
        told.append(counted(shapes[0][1], "class"))
    if names:
        told[-1] += f": {', '.join(names[:NAMED])}{', ...' if len(names) > NAMED else ''}"
    return f"weights: {'; '.join(told)}"


def origin_notes(manifest: dict) -> list[str]:
    """What was assumed, and what was left out, when a library's weights were read from another's file."""
    return manifest["weights"].get("notes", [])
