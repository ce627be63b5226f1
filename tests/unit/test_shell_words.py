"""What is said to a shell and what its answers mean, without a shell: marks, quotes, words at a cursor."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from cellhold_kernel.shell import asking, lines, words
from cellhold_kernel.shell.control import ANSWER_MOST, Control
from cellhold_kernel.shell.history import History

TOKEN = "0123456789abcdef"  # noqa: S105  # a mark, no password
NASTY = "it's \"quoted\" $HOME `id` \\ !x\n\ttab 'and' é \N{SNOWMAN} --"


@pytest.fixture
def control() -> Control:
    made = Control()
    made.expect(TOKEN)
    return made


def test_a_mark_is_found_however_it_is_cut_up(control: Control) -> None:
    noise = f"# prompt + command printf {TOKEN} 0\n"
    came = f"{noise}\n{TOKEN} 130\n# ".encode()
    found = [done for byte in came if (done := control.feed(bytes([byte]))) is not None]
    assert [done.status for done in found] == [130]


def test_a_trace_and_an_echo_of_our_own_line_are_no_marks(control: Control) -> None:
    line = lines.status(TOKEN)
    assert control.feed(f"{line}+ command printf '\\n%s %s\\n' {TOKEN} 0\n".encode()) is None
    assert control.feed(f"\n{TOKEN} 7\n".encode()) is not None


def test_marks_of_another_cell_and_numbers_that_are_none_are_not_heeded(control: Control) -> None:
    assert control.feed(f"\n{TOKEN[::-1]} 0\n\n{TOKEN} 1234\n\n{TOKEN} x\n\n{TOKEN} -1\n".encode()) is None


def test_an_answer_is_what_lies_between_its_marks(control: Control) -> None:
    done = control.feed(f"# noise\n{TOKEN} begin\none\ntwo\n\n{TOKEN} end\n# prompt\n{TOKEN} 0\n".encode())
    assert done is not None
    assert done.answer == b"one\ntwo\n"


def test_noise_and_answers_without_end_take_bounded_memory(control: Control) -> None:
    for _ in range(100):
        assert control.feed(b"x" * 65536) is None
    assert len(control._seen) < 1024
    control.feed(f"\n{TOKEN} begin\n".encode())
    for _ in range(100):
        control.feed(b"y" * 65536)
    done = control.feed(f"\n{TOKEN} 0\n".encode())
    assert done is not None
    assert len(done.answer) == ANSWER_MOST


@pytest.mark.parametrize("shell", ["bash", "dash", "busybox"])
def test_a_quoted_word_means_itself_in_every_shell(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is missing; apt install {shell}")
    command = [shell, *(["sh"] if shell == "busybox" else []), "-c", f"printf %s {lines.quote(NASTY)}"]
    assert subprocess.run(command, capture_output=True, check=True).stdout.decode() == NASTY


@pytest.mark.parametrize(
    ("code", "kind", "text"),
    [
        ("hea", "command", "hea"),
        ("ls /et", "path", "/et"),
        ("./scr", "path", "./scr"),
        ("echo $HO", "variable", "HO"),
        ('echo "${HO', "variable", "HO"),
        ("true && hea", "command", "hea"),
        ("if tes", "command", "tes"),
        ("x=/et", "path", "/et"),
        ("cat 'my fi", "path", "'my fi"),
        ("cat my\\ fi", "path", "my\\ fi"),
        ("echo a | so", "command", "so"),
        ("echo a |  so", "command", "so"),
        ("echo a\n\n so", "command", "so"),
        ('echo "a b" fo', "path", "fo"),
        ('echo "a \\" b', "path", '"a \\" b'),
        ("cat my\\", "path", "my\\"),
        ("# don't\ncat 'my fi", "path", "'my fi"),
        ("echo a#b'c fi", "path", "a#b'c fi"),
        ("", "command", ""),
    ],
)
def test_what_is_being_typed(code: str, kind: str, text: str) -> None:
    found = words.wanted(code, len(code))
    assert (found.kind, found.text) == (kind, text)
    assert code[found.start : found.end] == text


@pytest.mark.parametrize("code", ["a" * 200_000 + ";", "\\a" * 100_000 + ";", '"a b" ' * 50_000, "\n" * 200_000 + "x ;", "'" * 200_001])
@pytest.mark.timeout(60)  # it would take many minutes if it grew with the square of the length
def test_a_great_cell_is_looked_through_once(code: str) -> None:
    assert words.wanted(code, len(code)).end == len(code)


def test_what_fits_is_written_as_it_has_to_be_typed() -> None:
    want = words.wanted("cat my\\ f", 9)
    assert words.matches(want, b"my file\0my f'o;o\0", (), is_bash=False) == ["my\\ f\\'o\\;o", "my\\ file"]


def test_variables_are_names_and_no_lines_of_values() -> None:
    answer = b"HOME='/root'\nHOLD='a\nHOT stuff\nHO MEless=1'\n"
    assert words.matches(words.wanted("$HO", 3), answer, (), is_bash=False) == ["HOLD", "HOME"]


def test_functions_are_known_by_their_definitions() -> None:
    assert words.functions_in("f() { :; }\n  function g {\n:\n}\nfunction h () { :; }\necho x()") == {"f", "g", "h"}


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (b"0\n2\n", "complete"),
        (b"0\n0\n", "incomplete"),
        (b'2\n2\nsh: 1: Syntax error: end of file unexpected (expecting "fi")', "incomplete"),
        (b"2\n2\nsh: -c: line 1: unexpected EOF while looking for matching `''", "incomplete"),
        (b'2\n2\nsh: 1: Syntax error: "fi" unexpected', "invalid"),
        (b"126\n126\nArgument list too long", "unknown"),
        (b"", "unknown"),
        (b"\xff\n\xff", "unknown"),
    ],
)
def test_what_a_shell_says_of_code(answer: bytes, verdict: str) -> None:
    assert words.parse_check(answer)[0] == verdict


@pytest.mark.parametrize(
    ("answer", "who"),
    [
        (b"bash 5.2.15(1)-release", ("bash", "5.2.15")),
        (b"/bin/busybox\nBusyBox v1.35.0 (Debian) multi-call binary.", ("busybox", "1.35.0")),
        (b"/usr/bin/dash\nIllegal option --", ("dash", "")),
        (b"\xff\0\x1b[31m", ("sh", "")),
    ],
)
def test_which_shell_it_is(answer: bytes, who: tuple[str, str]) -> None:
    assert words.parse_identity(answer) == who


@pytest.mark.parametrize(
    ("arguments", "prompt", "is_secret"),
    [
        (["x"], "", False),
        (["-p", "who? ", "x"], "who? ", False),
        (["-rsp", "key: ", "x"], "key: ", True),
        (["-pname", "x"], "name", False),
        (["-t", "5", "-s", "x"], "", True),
        (["-p"], "", False),
        (["--", "-s"], "", False),
    ],
)
def test_what_read_is_to_show(arguments: list[str], prompt: str, *, is_secret: bool) -> None:
    assert asking.parse_read(arguments) == (prompt, is_secret)


def test_the_history_is_bounded_and_answers_whatever_is_asked() -> None:
    history = History()
    for number in range(1500):
        history.add(f"echo {number}", store=True)
    history.add("secret", store=False)
    history.add("x" * 100_000, store=True)
    assert history.count == 1501
    assert history.select({"hist_access_type": "tail", "n": 1}) == [(0, 1500, "echo 1499")]
    assert len(history.select({"hist_access_type": "search", "pattern": "echo 14*", "n": 10})) == 10
    assert history.select({"hist_access_type": "range", "start": 1499, "stop": 1500}) == [(0, 1499, "echo 1498")]
    assert len(history.select({})) == 1000
