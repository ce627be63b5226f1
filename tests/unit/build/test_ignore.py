"""What .dockerignore leaves out; the cases are moby's rules (its patternmatcher and the reference of docker build)."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest
from e2b_dockerfile_utils import PatternMatcher

from cellhold.build.ignore import Ignore
from cellhold.errors import InvalidSpec


@pytest.mark.parametrize(
    ("patterns", "excluded", "kept"),
    [
        ("", "", "a a/b"),
        ("a", "a a/b a/b/c", "b b/a ab"),
        ("/a\n./b/\nc/../d", "a b b/x d", "c x/a"),
        ("*.md", "README.md", "docs/README.md .mdx"),
        ("*/*.md", "a/x.md", "x.md a/b/x.md"),
        ("**/*.md", "x.md a/x.md a/b/x.md a/b/x.md/y", "x.mdx"),
        ("a/**", "a/b a/b/c", "a b"),
        ("**/a", "a b/a b/c/a b/a/x", "ba b/ba"),
        ("a/**/b", "a/b a/x/b a/x/y/b", "a/bx b"),
        ("?x", "ax bx", "x aax /x"),
        ("[a-c][^x]", "ab cz", "ax dz"),
        ("\\*", "*", "a"),
        ("a{b,c}+(d)", "a{b,c}+(d)", "ab"),
        ("A", "A", "a"),
        ("*\n!b", "a a/b", "b b/x"),
        ("a\n!a/b\na/b/c", "a a/x a/b/c a/b/c/d", "a/b a/b/x"),
        ("!a\na", "a", "b"),
        ("**\n!**/*.py", "a a/b", "x.py a/x.py a/b/x.py"),
        ("a*\n!ab\n", "a ac", "ab"),
        ("#a\n  #b\n\n  c  ", "c #b", "a #a"),
        ("! a\nx", "x", "a"),
    ],
)
def test_patterns_leave_out_and_take_back(patterns: str, excluded: str, kept: str) -> None:
    ignore = Ignore.read(patterns)
    assert [path for path in excluded.split() if not ignore.excludes(path)] == []
    assert [path for path in kept.split() if ignore.excludes(path)] == []


def test_the_file_may_come_from_windows() -> None:
    ignore = Ignore.read("\ufeffa\r\n!a/b\r\n")
    assert (ignore.excludes("a"), ignore.excludes("a/b")) == (True, False)


@pytest.mark.parametrize(
    ("patterns", "walked", "not_walked"),
    [
        ("*\n!a/b/c", "a a/b", "b a/c a/b/c"),
        ("*\n!**/x", "a a/b/c", ""),
        ("*\n!a/*/x", "a a/b", "b a/b/x"),
        ("a", "", "a"),
    ],
)
def test_what_is_left_out_is_walked_only_where_something_may_be_taken_back(patterns: str, walked: str, not_walked: str) -> None:
    ignore = Ignore.read(patterns)
    assert [path for path in walked.split() if not ignore.may_reinclude_under(path)] == []
    assert [path for path in not_walked.split() if ignore.may_reinclude_under(path)] == []


@pytest.mark.parametrize(("text", "line"), [("a\n\n[", 3), ("!", 1), ("a\n[a-]", 2), ("x\\", 1), ("# ok\n[]", 2)])
def test_a_pattern_that_is_none_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(InvalidSpec, match=rf"cannot use line {line} of sub/\.dockerignore, "):
        Ignore.read(text, name="sub/.dockerignore")


def test_the_answers_are_those_of_the_matcher_that_begins_at_the_root() -> None:
    chosen = random.Random(5)  # noqa: S311  # any mixture will do, the same each time
    pieces = ["a", "b", "*", "**", "a*", "?", "[ab]"]
    names = ["a", "b", "ab", "c"]
    paths = ["/".join(parts) for depth in (1, 2, 3, 4) for parts in itertools.product(names, repeat=depth)]
    for _ in range(25):
        patterns = [
            chosen.choice(["", "", "!"]) + "/".join(chosen.choices(pieces, k=chosen.randint(1, 3))) for _ in range(chosen.randint(1, 6))
        ]
        ignore, matcher = Ignore(patterns), PatternMatcher(patterns)
        for path in chosen.sample(paths, 60):
            assert ignore.excludes(path) == matcher.matches(path), (patterns, path)


def test_a_deep_tree_is_no_deep_recursion() -> None:
    assert Ignore(["**/x"]).excludes("/".join(["d"] * 2000 + ["x"]))


def test_each_pattern_is_tried_once_for_each_file_and_directory() -> None:
    ignore = Ignore(["**/*.o", "dir/**", "**/node_modules"])
    tried: Counter[str] = Counter()
    for pattern in ignore._patterns:
        pattern.match = lambda path, match=pattern.match: tried.update([path]) or match(path)  # type: ignore[misc]
    paths = [f"src/a/b/{directory}/{number}.c" for directory in range(10) for number in range(100)]
    assert not any(map(ignore.excludes, paths))
    assert set(tried.values()) == {3}
    assert len(tried) == len(paths) + 10 + len(("src", "src/a", "src/a/b"))
