"""YAML syntax: what becomes a node, what is refused, and that aliases cannot take us hostage."""

from __future__ import annotations

import pytest
import yaml

from wsgiproxy.config import tree
from wsgiproxy.config.mistakes import Mistakes
from wsgiproxy.config.tree import Mapping, Node, Scalar, Sequence, Walk, find, parse
from wsgiproxy.errors import InvalidConfigError

FILE = "f.yaml"


@pytest.fixture(params=["CSafeLoader", "SafeLoader"], autouse=True)
def fixture_loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs with libyaml and without."""
    if not hasattr(yaml, request.param):
        pytest.skip("this PyYAML was built without libyaml")
    monkeypatch.setattr(tree, "_Loader", getattr(yaml, request.param))


def plain(node: Node | None, walk: Walk) -> object:
    """A tree as Python lists, dicts and texts."""
    if isinstance(node, Mapping):
        return {text: plain(entry.value, walk) for text, entry in walk.entries(node, None).items()}
    if isinstance(node, Sequence):
        return [plain(item, walk) for item in walk.items(node)]
    return node.text if node else None


def read(text: str) -> object:
    """A text as plain data; ``InvalidConfigError`` with every mistake."""
    mistakes = Mistakes(FILE)
    data = plain(parse(text, mistakes), Walk(mistakes))
    mistakes.raise_any()
    return data


def refusal(text: str) -> str:
    with pytest.raises(InvalidConfigError) as refused:
        read(text)
    return str(refused.value)


def test_scalars_keep_their_own_text() -> None:
    text = "a: off\nb: 010\nc: 1.50\nd: 2026-01-01\ne: 'x'\nf: |\n  y\ng: 12:30\nh: !!str 5\ni: =\n"
    expected = {"a": "off", "b": "010", "c": "1.50", "d": "2026-01-01", "e": "x", "f": "y\n", "g": "12:30"}
    assert read(text) == {**expected, "h": "5", "i": "="}


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "\ufeff"])
def test_a_text_without_a_document_is_none(text: str) -> None:
    assert parse(text, Mistakes(FILE)) is None


def test_only_plain_empty_words_are_null() -> None:
    root = parse("[~, null, '', 'null', NULL, nothing]", Mistakes(FILE))
    assert isinstance(root, Sequence)
    assert [item.is_null for item in root.items if isinstance(item, Scalar)] == [True, True, False, False, True, False]


def test_positions_count_from_one() -> None:
    root = parse("é: 1\npools:\n  web: [x, y]\n", Mistakes(FILE))
    assert root is not None
    places = {path: find(root, path, Walk(Mistakes(FILE))) for path in ("é", "pools", "pools.web", "pools.web[1]")}
    assert {path: (node.line, node.column) for path, node in places.items()} == {
        "é": (1, 4),
        "pools": (3, 3),
        "pools.web": (3, 8),
        "pools.web[1]": (3, 12),
    }


def test_find_answers_with_what_is_nearest() -> None:
    root = parse("a:\n  b.c: {x: 1}\n  b: 5\n  m: {h: 2}\n  l: [1]\n", Mistakes(FILE))
    assert root is not None
    for path, line, column in (
        ("", 1, 1),
        ("nothing", 1, 1),
        ("a.b.c.x", 2, 12),
        ("a.b", 3, 6),
        ("a.b.zzz", 3, 6),
        ("a.bb", 2, 3),
        ("a.m[0].h", 4, 10),
        ("a.m[1].h", 4, 6),
        ("a.l[7]", 5, 6),
        ("a.l.x", 5, 6),
    ):
        node = find(root, path, Walk(Mistakes(FILE)))
        assert (node.line, node.column) == (line, column), path


def test_duplicate_keys_name_the_line_of_the_first() -> None:
    assert refusal("a: 1\nb: 2\na: 3\n'b': 4\n") == (
        'f.yaml:3:1: duplicate key "a", first on line 1\nf.yaml:4:1: duplicate key "b", first on line 2'
    )


def test_a_merge_fills_in_what_the_block_itself_leaves_out() -> None:
    text = "d: &d {a: 1, b: 2}\ne: &e {b: 3, c: 4}\nx: {<<: *d, b: 9}\ny: {<<: [*d, *e]}\nz: {'<<': 5}\n"
    data = read(text)
    assert isinstance(data, dict)
    assert data["x"] == {"b": "9", "a": "1"}
    assert data["y"] == {"a": "1", "b": "2", "c": "4"}
    assert data["z"] == {"<<": "5"}


def test_only_mappings_can_be_merged() -> None:
    problem = '"<<" merges a mapping or a list of mappings, as in "<<: *defaults"'
    assert refusal("a:\n  <<: 5\n") == f"f.yaml:2:7: {problem}"
    assert refusal("a:\n  <<: [{b: 1}, c]\n") == f"f.yaml:2:7: {problem}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: *x", '1:4: the alias *x names no anchor before it; a text that starts with "*" must stand in quotes'),
        ("a: &p {b: *p}", "1:11: the alias *p stands within what it names"),
        ("a: &p [*p]", "1:8: the alias *p stands within what it names"),
        ("a: 1\n---\nb: 2", '2:1: there must be one document only, and no second "---"'),
        (
            "a: !!python/object:os.system x",
            "1:4: the tag !!python/object:os.system is not supported: plain values only",
        ),
        ("a: !!binary eA==", "1:4: the tag !!binary is not supported: plain values only"),
        ("a: !mine [x]", "1:4: the tag !mine is not supported: plain values only"),
        ("a: !!set {x}", "1:4: the tag !!set is not supported: plain values only"),
        ("a: b\x01", "1:5: not YAML: the character U+0001 must not stand here"),
        ("a: 1\nb: \ud800", "2:4: not YAML: the character U+D800 must not stand here"),
        ("[" * 5000, "1:101: too deep: at most 100 blocks may stand within each other"),
        ("? [a]\n: 1", "1:3: a key must be plain text"),
    ],
)
def test_what_we_do_not_read_is_refused_with_its_place(text: str, problem: str) -> None:
    assert refusal(text) == f"f.yaml:{problem}"


@pytest.mark.parametrize(
    ("text", "place", "hint"),
    [
        ("host: *.example.org", "1:", '"*" must stand in quotes, as in "*.example.org"'),
        ("a: 1\n\tb: 2", "2:", "YAML is indented with spaces, not with tabs"),
        ("a: b: c", "1:5: not YAML: mapping values are not allowed", ""),
        ("a: [1", "", "while parsing a flow sequence"),
        ("a: 'x", "", "quoted scalar"),
        ("%YAML 9.0\n--- a", "1:1: not YAML: found incompatible YAML document", ""),
    ],
)
def test_a_syntax_error_has_a_place_and_says_what_may_be_meant(text: str, place: str, hint: str) -> None:
    message = refusal(text)
    assert message.startswith(f"f.yaml:{place}")
    assert hint in message


def bomb(levels: int, line: str) -> str:
    """Each level names the one before it ten times."""
    lines = ["x0: &x0 {a: 1}"]
    lines += [line.format(here=n, many=", ".join([f"*x{n - 1}"] * 10)) for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize("line", ["x{here}: &x{here} [{many}]", "x{here}: &x{here} {{<<: [{many}]}}"])
def test_an_alias_bomb_is_refused(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MAX_VALUES", 20_000)
    assert "too large: more than 20000 values once every alias is followed" in refusal(bomb(20, line))


def test_a_long_chain_of_merges_is_refused() -> None:
    lines = ["x0: &x0 {a: 1}"] + [f"x{n}: &x{n} {{<<: *x{n - 1}}}" for n in range(1, 3000)]
    assert refusal("\n".join(lines)) == "f.yaml:1:5: too deep: at most 100 merges may stand within each other"


def test_honest_aliases_are_followed() -> None:
    data = read(bomb(3, "x{here}: &x{here} [{many}]"))
    assert isinstance(data, dict)
    assert data["x1"] == [{"a": "1"}] * 10
