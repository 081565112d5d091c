"""What was read from a file is shown, and does nothing else, wherever it is shown."""

import json
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tinyadder import escape

HOSTILE = (
    "<script>alert(1)</script>",
    "<!--<script>-->",
    "</script><img src=x onerror=alert(1)>",
    "\" onmouseover='alert(1)",
    "a | b |\n| - | - |\n\n# heading",
    "[here](javascript:alert(1))",
    "`code` ``more`` *strong* __strong__ ~~gone~~ $x^2$ &lt; &copy; \\* \\| \\",
    "\x1b[2J\x1b]0;title\x07\x9b31m\r\b",
    "\u202egnp.exe\u2066\u200b\u2028\x85",
    "\ud800 alone",
    "{{ 7 * 7 }} {% raw %} ${x}",
)
text = st.text(st.characters(codec=None), max_size=30) | st.sampled_from(HOSTILE)


class Texts(HTMLParser):
    """What a browser finds: the texts, and every tag."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text, self.tags, self.title = "", [], None

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, [name for name, _ in attrs]))
        self.title = dict(attrs).get("title", self.title)

    def handle_data(self, data):
        self.text += data


def parsed(page: str) -> Texts:
    found = Texts()
    found.feed(page)
    found.close()
    return found


@given(text)
def test_nothing_reaches_a_terminal_that_it_would_obey(hostile):
    shown = escape.terminal(hostile)
    assert shown.isprintable() or not shown
    assert shown == hostile or not hostile.isprintable()
    shown.encode()  # no lone surrogate is left


@given(text)
def test_html_shows_it_between_tags_and_in_an_attribute(hostile):
    page = parsed(f'<p title="{escape.html(hostile)}">{escape.html(hostile)}</p>')
    assert page.tags == [("p", ["title"])]
    assert page.text == page.title == escape.terminal(hostile, keep="\n\t")


@given(
    st.recursive(
        text, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3)
    )
)
def test_a_script_element_holds_the_same_data_and_ends_where_it_should(data):
    said = escape.script_json(data)
    assert json.loads(said) == data
    assert not set("<>&\u2028") & set(said) and said.isascii()


def spans(source: str) -> list[tuple[str, str]]:
    """The tokens that a Markdown renderer makes of one cell of a table: type and content."""
    renderer = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    blocks = renderer.parse(f"| head |\n| --- |\n| x{source}x |\n")
    assert [b.type for b in blocks].count("tr_open") == 2, "one row stayed one row"
    (cell,) = [b for b in blocks if b.type == "inline" and b.content != "head"]
    joined: list[tuple[str, str]] = []
    for kind, content in [(c.type.removesuffix("_special"), c.content) for c in cell.children]:
        if joined and kind == "text" and joined[-1][0] == "text":
            joined[-1] = ("text", joined[-1][1] + content)
        else:
            joined.append((kind, content))
    return joined


@given(text)
def test_markdown_shows_it_as_text_and_as_nothing_else(hostile):
    assert spans(escape.markdown(hostile)) == [("text", f"x{escape.terminal(hostile)}x")]


@given(text)
def test_a_code_span_shows_it_as_code(hostile):
    kinds = spans(f" {escape.markdown_code(hostile)} ")
    shown = escape.terminal(hostile)
    assert [kind for kind, _ in kinds] == ["text", "code_inline", "text"]
    assert kinds[1][1].strip(" ") == shown.strip(" ")


@pytest.mark.parametrize(
    "plain", ["123 + 456", "addition (digits 10)", "x^5-4x^3+1", "derivative_coefficients"]
)
def test_ordinary_text_stays_as_it_is(plain):
    assert {escape.terminal(plain), escape.html(plain), escape.markdown(plain)} == {plain}


@pytest.mark.parametrize("hostile", HOSTILE[:3])
def test_these_checks_notice_what_was_not_escaped(hostile):
    page = parsed(f"<p>{hostile}</p>")
    assert (page.tags, page.text) != ([("p", [])], hostile)
    assert spans(hostile) != [("text", f"x{hostile}x")]
