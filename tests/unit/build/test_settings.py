"""What instructions change in an image's settings, what the history says of them, and what RUN starts: BuildKit's answers."""

from __future__ import annotations

from typing import Any

import pytest

from cellhold.build import dockerfile, settings
from cellhold.build.settings import SCRIPT, RunCommand
from cellhold.errors import InvalidSpec

SHELL = ("/bin/sh", "-c")


def after(*lines: str, config: dict[str, Any] | None = None) -> dict[str, Any]:
    """The settings after these instructions, whose variables have been replaced."""
    made: Any = config or {}
    has_cmd = False
    for instruction in dockerfile.read("\n".join(("FROM scratch", *lines)), "Dockerfile").instructions:
        made = settings.applied(made, instruction, stage_has_cmd=has_cmd)
        has_cmd = has_cmd or instruction.keyword == "CMD"
    return dict(made)


def said(line: str, config: dict[str, Any] | None = None, **more: Any) -> str | None:
    instruction = dockerfile.read(f"FROM scratch\n{line}", "Dockerfile").instructions[1]
    return settings.history(instruction, settings.applied(config or {}, instruction, stage_has_cmd=False), **more)


def command(line: str) -> RunCommand:
    return settings.run_command(dockerfile.read(f"FROM scratch\n{line}", "Dockerfile").instructions[1], SHELL)


def test_variables_keep_their_order_and_are_replaced_in_place() -> None:
    assert after("ENV B=2", "ENV A=1 C=3 B=4", config={"Env": ["PATH=/bin", "A=0"]}) == {"Env": ["PATH=/bin", "A=1", "B=4", "C=3"]}


def test_labels_are_added() -> None:
    assert after("LABEL a=1", "LABEL b=2 a=3", config={"Labels": {"z": "0"}}) == {"Labels": {"z": "0", "a": "3", "b": "2"}}
    assert after("LABEL a=1", config={"Labels": None}) == {"Labels": {"a": "1"}}


@pytest.mark.parametrize(
    ("line", "ports"),
    [
        ("EXPOSE 80", ["80/tcp"]),
        ("EXPOSE 80/TCP 53/udp 9/sctp 80/", ["53/udp", "80/tcp", "9/sctp"]),
        ("EXPOSE 8000-8002/udp", ["8000/udp", "8001/udp", "8002/udp"]),
        ("EXPOSE 7-7", ["7/tcp"]),
        ("EXPOSE 8080:80", ["80/tcp"]),
        ("EXPOSE 127.0.0.1:8080:80", ["80/tcp"]),
        ("EXPOSE 0 65535", ["0/tcp", "65535/tcp"]),
    ],
)
def test_ports_are_those_of_the_container(line: str, ports: list[str]) -> None:
    assert sorted(after(line)["ExposedPorts"]) == ports


@pytest.mark.parametrize(
    "line", ["EXPOSE x", "EXPOSE 65536", "EXPOSE 5-3", "EXPOSE 80/icmp", "EXPOSE -1", "EXPOSE 1-", "EXPOSE /tcp", "EXPOSE \u0663"]
)
def test_what_is_no_port_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(InvalidSpec, match=r"line 2 of Dockerfile, .* is not a port"):
        after(line)


@pytest.mark.parametrize(
    ("lines", "path"),
    [
        (["WORKDIR /a"], "/a"),
        (["WORKDIR a"], "/a"),
        (["WORKDIR /a", "WORKDIR b", "WORKDIR c"], "/a/b/c"),
        (["WORKDIR /a/../b//c/./"], "/b/c"),
        (["WORKDIR ../../x"], "/x"),
        (["WORKDIR //a"], "/a"),
        (["WORKDIR /"], "/"),
        (["WORKDIR /a b"], "/a b"),
    ],
)
def test_a_working_directory_is_joined_to_the_one_before_and_cleaned(lines: list[str], path: str) -> None:
    assert after(*lines)["WorkingDir"] == path


def test_a_relative_working_directory_starts_from_the_base_images() -> None:
    assert after("WORKDIR x", config={"WorkingDir": "/base"})["WorkingDir"] == "/base/x"
    assert after("WORKDIR x", config={"WorkingDir": "base"})["WorkingDir"] == "/base/x"


def test_volumes_and_users_are_kept_as_they_are_written() -> None:
    assert after("VOLUME /a b", 'VOLUME ["/c d ", "/a"]')["Volumes"] == {"/a": {}, "b": {}, "/c d": {}}
    assert after("USER www-data:0")["User"] == "www-data:0"


def test_commands_go_through_the_shell_unless_they_are_lists() -> None:
    assert after("CMD echo  $A")["Cmd"] == ["/bin/sh", "-c", "echo  $A"]
    assert after('CMD ["echo", "$A"]')["Cmd"] == ["echo", "$A"]
    assert after('SHELL ["/bin/bash", "-e", "-c"]', "ENTRYPOINT a b", "CMD c") == {
        "Shell": ["/bin/bash", "-e", "-c"],
        "Entrypoint": ["/bin/bash", "-e", "-c", "a b"],
        "Cmd": ["/bin/bash", "-e", "-c", "c"],
    }
    assert after("CMD []", "ENTRYPOINT []", config={"Cmd": ["a"], "Entrypoint": ["b"]}) == {}


def test_an_entrypoint_takes_the_bases_command_away_but_not_the_stages() -> None:
    base = {"Cmd": ["base"]}
    assert after('ENTRYPOINT ["e"]', config=base) == {"Entrypoint": ["e"]}
    assert after('CMD ["c"]', 'ENTRYPOINT ["e"]', config=base) == {"Entrypoint": ["e"], "Cmd": ["c"]}
    assert after('ENTRYPOINT ["e"]', 'CMD ["c"]', config=base) == {"Entrypoint": ["e"], "Cmd": ["c"]}


@pytest.mark.parametrize("name", ["SIGTERM", "term", "sigkill", "9", "64", "SIGRTMIN", "RTMIN+15", "SIGRTMAX-14", "SIGRTMAX", "SIGWINCH"])
def test_signals_keep_their_text(name: str) -> None:
    assert after(f"STOPSIGNAL {name}") == {"StopSignal": name}


@pytest.mark.parametrize("name", ["SIGNAL", "0", "65", "-9", "SIG9", "RTMIN+16", "RTMAX-15", "TERM KILL", "9" * 5000])
def test_what_is_no_signal_is_refused_with_its_line(name: str) -> None:
    with pytest.raises(InvalidSpec, match=r"line 2 of Dockerfile, .* is not a signal"):
        after(f"STOPSIGNAL {name}")


def test_a_health_check_has_its_times_in_nanoseconds() -> None:
    line = "HEALTHCHECK --interval=1m30s --timeout=2.5s --start-period=500ms --start-interval=0s --retries=0 CMD curl -f x || exit 1"
    assert after(line)["Healthcheck"] == {
        "Test": ["CMD-SHELL", "curl -f x || exit 1"],
        "Interval": 90_000_000_000,
        "Timeout": 2_500_000_000,
        "StartPeriod": 500_000_000,
    }
    assert after('HEALTHCHECK --retries=3 cmd ["a", "b"]')["Healthcheck"] == {"Test": ["CMD", "a", "b"], "Retries": 3}
    assert after("HEALTHCHECK CMD a", "HEALTHCHECK none")["Healthcheck"] == {"Test": ["NONE"]}


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("--interval=5", "--interval: '5' is not a duration"),
        ("--interval=1us", "--interval=1us is shorter than 1ms"),
        ("--timeout=-5s", "--timeout=-5s is shorter than 1ms"),
        ("--timeout=9999999h", "is longer than 292 years"),
        ("--retries=-1", "--retries=-1 is not a whole number"),
        ("--retries=1.5", "--retries=1.5 is not a whole number"),
        (f"--retries={'9' * 5000}", "is not a whole number"),
    ],
)
def test_a_health_check_that_makes_no_sense_is_refused(flag: str, sentence: str) -> None:
    with pytest.raises(InvalidSpec, match=f"line 2 of Dockerfile, .*{sentence}"):
        after(f"HEALTHCHECK {flag} CMD x")


def test_triggers_are_kept_in_order_and_not_passed_on() -> None:
    made = after("ONBUILD RUN a \\\n  b", "onbuild ENV A=$B", config={"OnBuild": ["RUN z"]})
    assert made == {"OnBuild": ["RUN z", "RUN a   b", "ENV A=$B"]}
    assert settings.inherited({**made, "User": "x"}) == {"User": "x"}


def test_other_instructions_change_nothing_and_nothing_is_changed_in_place() -> None:
    config = {"Env": ["A=1"], "Labels": {"a": "b"}, "Unknown": 3}
    assert after("RUN x", "COPY a b", "ADD a b", "ARG A", "MAINTAINER me", config=config) == config
    after("ENV A=2", "LABEL a=c", config=config)
    assert config == {"Env": ["A=1"], "Labels": {"a": "b"}, "Unknown": 3}


def test_the_maintainer_is_the_author() -> None:
    _, maintainer, user = dockerfile.read("FROM scratch\nMAINTAINER A B <a@b>\nUSER x", "Dockerfile").instructions
    assert (settings.author(maintainer), settings.author(user)) == ("A B <a@b>", None)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("ENV A=1 B=x", "ENV A=1 B=x"),
        ("ENV A x y", "ENV A=x y"),
        ("LABEL a=b c=d", "LABEL a=b c=d"),
        ("ARG A=1 B", "ARG A=1 B"),
        ("WORKDIR x/", "WORKDIR /x"),
        ("USER a:b", "USER a:b"),
        ("EXPOSE 80 443/udp 22-23", "EXPOSE [22/tcp 23/tcp 443/udp 80/tcp]"),
        ("VOLUME /a /b", "VOLUME [/a /b]"),
        ('CMD ["a", "b \\"c\\"\\n"]', 'CMD ["a" "b \\"c\\"\\n"]'),
        ("CMD echo hi", 'CMD ["/bin/sh" "-c" "echo hi"]'),
        ("CMD []", "CMD []"),
        ("ENTRYPOINT a\u00e9\u200b", 'ENTRYPOINT ["/bin/sh" "-c" "a\u00e9\\u200b"]'),
        ('SHELL ["/bin/bash", "-c"]', "SHELL [/bin/bash -c]"),
        ("STOPSIGNAL SIGINT", "STOPSIGNAL SIGINT"),
        ("MAINTAINER A B", "MAINTAINER A B"),
        (
            "HEALTHCHECK --interval=90s --timeout=1500ms --retries=3 CMD a",
            "HEALTHCHECK {Test:[CMD-SHELL a] Interval:1m30s Timeout:1.5s StartPeriod:0s StartInterval:0s Retries:3}",
        ),
        ("COPY --from=x --chmod=644 --chown=1:1 --link a b /c", "COPY --chown=1:1 --chmod=644 a b /c # buildkit"),
        ("ADD a.tar /", "ADD a.tar / # buildkit"),
        ("COPY <<A b <<-'C' /d\nA\nC", "COPY b <<A <<C /d # buildkit"),
        ("ONBUILD RUN x", None),
    ],
)
def test_the_history_reads_as_buildkits(line: str, text: str | None) -> None:
    assert said(line) == text


def test_the_history_of_run_tells_its_arguments_and_its_shell() -> None:
    assert said("RUN a b") == "RUN /bin/sh -c a b # buildkit"
    assert said("RUN a b", run_key=("A=1", "B=2 3")) == "RUN |2 A=1 B=2 3 /bin/sh -c a b # buildkit"
    assert said('RUN ["a", "b"]') == "RUN a b # buildkit"
    assert said("RUN a", {"Shell": ["/bin/bash", "-c"]}) == "RUN /bin/bash -c a # buildkit"


def test_run_starts_what_is_written() -> None:
    assert command("RUN a && b $C") == RunCommand(args=(*SHELL, "a && b $C"))
    assert command('RUN ["a", "$C"]') == RunCommand(args=("a", "$C"))


@pytest.mark.parametrize(
    ("line", "args", "script"),
    [
        ("RUN <<EOF\na\nb $C\nEOF", (*SHELL, "a\nb $C\n"), None),
        ("RUN <<-'E F'\n\ta\nE F", (*SHELL, "a\n"), None),
        ("RUN <<EOF\n#!/usr/bin/env python3\nprint(1)\nEOF", (SCRIPT,), b"#!/usr/bin/env python3\nprint(1)\n"),
        ("RUN <<-EOF\n\t#!/bin/sh\n\tx\n\tEOF", (SCRIPT,), b"#!/bin/sh\nx\n"),
        ("RUN python3 - <<EOF\nprint(1)\nEOF", (*SHELL, "python3 - <<EOF\nprint(1)\nEOF"), None),
        ("RUN <<EOF cat\n#!/x\nEOF", (*SHELL, "<<EOF cat\n#!/x\nEOF"), None),
        ("RUN cat <<A && \\\n cat 3<<'B'\na\nA\nb\nB", (*SHELL, "cat <<A &&  cat 3<<'B'\na\nA\nb\nB"), None),
        ("RUN echo '<<EOF'", (*SHELL, "echo '<<EOF'"), None),
    ],
)
def test_run_has_three_ways_to_use_a_heredoc(line: str, args: tuple[str, ...], script: bytes | None) -> None:
    assert command(line) == RunCommand(args=args, script=script)
