"""Strings from files, made harmless for the place where they are shown: one function a context.

Whatever was read (names, results, problems, tokens, messages that quote them) is hostile until one
of these has seen it. Each leaves ordinary text as it is, as far as its context allows.
"""

from __future__ import annotations

import html as _html
import json
import re
from collections.abc import Sequence
from typing import Any

_MARKDOWN = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])")
"""What begins or ends something within a line of Markdown. An underscore inside a word does not."""


def terminal(text: str, *, keep: str = "") -> str:
    r"""`text` for a terminal: what does not print is written as Python's repr would.

    That is control characters (escape sequences begin with one), line breaks, bidirectional and
    invisible characters, lone surrogates; those in `keep` stay.

    >>> terminal("1 + 1\x1b[2J\n")
    '1 + 1\\x1b[2J\\n'
    >>> terminal("two\nlines", keep="\n")
    'two\nlines'
    """
    return "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text
    )


def html(text: str) -> str:
    """`text` for HTML, between tags or as an attribute's value in quotes.

    >>> html('<b title="x">')
    '&lt;b title=&quot;x&quot;&gt;'
    """
    return _html.escape(terminal(text, keep="\n\t"), quote=True)


def script_json(data: Any) -> str:
    r"""`data` as JSON for a `<script>` element.

    It is ASCII without `<`, `>` and `&`, so that nothing in it ends or nests the script. Raises
    ValueError for NaN and infinity, which JSON does not have.

    >>> script_json({"name": "</script>"})
    '{"name":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


class Markdown(str):
    """Text that is Markdown already: `markdown` leaves it as it is."""


def markdown(text: str) -> Markdown:
    r"""`text` within a line of Markdown or a cell of its tables.

    It is shown as it is: no markup, no HTML, no line break.

    >>> print(markdown("5*x | <script> snake_case"))
    5\*x \| &lt;script> snake_case
    """
    if isinstance(text, Markdown):
        return text
    text = terminal(text).replace("&", "&amp;").replace("<", "&lt;")
    return Markdown(_MARKDOWN.sub(r"\\\g<0>", text))


def markdown_code(text: str) -> Markdown:
    """`text` as a code span of Markdown, in a line or a cell of a table.

    >>> markdown_code("a|b"), markdown_code("a`b")
    ('`a\\\\|b`', '``a`b``')
    """
    text = terminal(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    space = " " if text[:1] in ("`", " ", "") or text[-1:] in ("`", " ") else ""
    return Markdown(f"{fence}{space}{text.replace('|', chr(92) + '|')}{space}{fence}")


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; cells that are not `Markdown` are escaped.

    >>> print(markdown_table(("a", "b"), [("1|2", Markdown("**3**"))]))
    | a | b |
    | --- | --- |
    | 1\\|2 | **3** |
    """
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(markdown(cell) for cell in line) + " |" for line in lines)
