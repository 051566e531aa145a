"""Count the lines of code of ppgym/ and agents/: neither blank, nor comment, nor docstring.

python docs/code_lines.py            the total of each folder
python docs/code_lines.py FILE...    of these files
"""

import ast
import io
import sys
import tokenize
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def code_lines(source: str) -> int:
    """Lines of a module that hold code.

    Args:
        source: Text of the module.

    Returns:
        How many; a statement over several lines counts each of them.
    """
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                lines.difference_update(range(body[0].lineno, (body[0].end_lineno or body[0].lineno) + 1))
    return len(lines)


def main() -> None:
    """Print the counts."""
    paths = [Path(name) for name in sys.argv[1:]]
    if not paths:
        paths = sorted(path for folder in ("ppgym", "agents") for path in (ROOT / folder).rglob("*.py"))
    totals: Counter[str] = Counter()
    for path in paths:
        where = path.resolve().relative_to(ROOT)
        totals[str(where if sys.argv[1:] else where.parent)] += code_lines(path.read_text(encoding="utf-8"))
    for name, lines in totals.items():
        print(f"{lines:7,} {name}")
    print(f"{sum(totals.values()):7,} in all")


if __name__ == "__main__":
    main()
