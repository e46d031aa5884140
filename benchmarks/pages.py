"""The command `python -m benchmarks.pages`: the tables and the chart of README.md and docs/, from docs/data/.

A page holds its tables between `<!-- table: KIND FILE -->` and `<!-- end -->`; FILE is what the command named there
wrote with `--json docs/data/FILE.json`, KIND is how its figures are shown (benchmarks/tables.py).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from tvm_shufflenet.cli.command import run
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.files import write_bytes

from .chart import chart
from .tables import TABLES

PROGRAM = "python -m benchmarks.pages"
ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"(<!-- table: (\S+) (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
CHART = Path("docs", "pictures", "latency.svg")
CHARTED = "latency-rivals"


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Renders the tables of README.md and docs/*.md and the chart docs/pictures/latency.svg from the "
        "files in docs/data, which other commands write with --json.",
        epilog="example: python -m benchmarks.latency --json docs/data/latency-rivals.json && " + PROGRAM,
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a page and its data differ")
    parser.add_argument("--root", type=Path, default=ROOT, metavar="DIR", help="the repository (this one)")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = arguments().parse_args(argv)
    stale = []
    for path, text in rendered(args.root).items():
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(str(path.relative_to(args.root)))
        if not args.check:
            write_bytes(path, text.encode())
    if not args.check:
        print("rendered: " + (", ".join(stale) or "nothing had changed"))
    elif stale:
        print(f"not as docs/data has it: {', '.join(stale)}; run {PROGRAM}", file=sys.stderr)
        return 1
    return 0


def rendered(root: Path) -> dict[Path, str]:
    """All pages and the chart as they should be.  Raises `UserError` for a marker or a file of no known form."""
    pages = [root / "README.md", *sorted(root.glob("docs/*.md"))]
    found = {page: _page(page, root) for page in pages}
    found[root / CHART] = chart(_data(root, CHARTED, CHART.name))
    return found


def _page(page: Path, root: Path) -> str:
    text = page.read_text(encoding="utf-8")
    if text.count("<!-- table:") != len(BLOCK.findall(text)):
        raise UserError(f"{page.name}: expected `<!-- table: KIND FILE -->`, each ended by `<!-- end -->`")

    def block(match: re.Match) -> str:
        opening, kind, name, end = match.groups()
        if kind not in TABLES:
            raise UserError(f"{page.name}: no table is called {kind!r}: expected {', '.join(TABLES)}")
        data = _data(root, name, page.name)
        try:
            lines = TABLES[kind](data)
        except (KeyError, TypeError, IndexError) as error:
            raise UserError(f"docs/data/{name}.json: not what a table {kind!r} is made of: {error!r}") from None
        return opening + "\n".join(lines) + "\n" + end

    return BLOCK.sub(block, text)


def _data(root: Path, name: str, page: str) -> dict:
    path = root / "docs" / "data" / f"{name}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{page}: docs/data/{name}.json: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"docs/data/{name}.json: not JSON: {error}") from None


if __name__ == "__main__":
    sys.exit(run(main))
