"""Make the tutorials of the site from scripts: `python docs/tutorials.py`, or with the names of some of them.

A script of examples/ is a page: its docstring begins it, `# %% Title` begins a section, the comments that follow are
text, and the rest is code. The code is run here, section by section, and what it prints stands below it. Pictures that
it saves lie beside the page.
"""

import contextlib
import io
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "tutorials"
TUTORIALS = ("train_and_watch", "plan_and_explain", "prompts_on_my_phone")


def sections(script: str) -> tuple[str, str, list[tuple[str, str, str]]]:
    """The parts of a script.

    Args:
        script: Its text.

    Returns:
        Title, introduction, and (title, text, code) of each section.
    """
    first, *cells = script.split("\n# %%")
    title, _, introduction = first.strip().strip('"').partition("\n")
    found = []
    for cell in cells:
        heading, *lines = cell.split("\n")
        count = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
        text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines[:count])
        found.append((heading.strip(), text, "\n".join(lines[count:]).strip()))
    return title.rstrip(".:"), introduction.strip(), found


def page(name: str, run: bool = True) -> str:
    """The page of a tutorial.

    Args:
        name: Of the script.
        run: Whether to run the code and show what it prints.

    Returns:
        Markdown.
    """
    title, introduction, parts = sections((ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8"))
    heading, colon, rest = title.partition(": ")
    pieces = [f"# {heading}"] + [rest[:1].upper() + rest[1:] + "."] * bool(colon) + [introduction]
    pieces.append(f"The code is `examples/{name}.py`.")
    namespace: dict[str, object] = {"__name__": name}
    for heading, text, code in parts:
        pieces += [f"## {heading}"] * bool(heading) + [text] * bool(text)
        if code:
            pieces.append(f"```python\n{code}\n```")
        printed = io.StringIO()
        if run:
            with contextlib.redirect_stdout(printed):
                exec(compile(code, name, "exec"), namespace)
        if printed.getvalue():
            pieces.append(f"```text\n{printed.getvalue()}```")
    return "\n\n".join(pieces) + "\n"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    os.chdir(FOLDER)
    for tutorial in sys.argv[1:] or TUTORIALS:
        (FOLDER / f"{tutorial}.md").write_text(page(tutorial), encoding="utf-8")
