"""`cellhold doctor` says what a host can and cannot do in sentences, and never crashes, whatever the host refuses."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cellhold import doctor
from cellhold.doctor import trial, trials
from cellhold.doctor.feature import Feature, MissingError

RUNTIME = Path(doctor.__file__).parents[2]


def feature(attempt: object, *, remedy: str = "buy a new one") -> Feature:
    assert callable(attempt)
    return Feature(name="wheel", can="roll", attempt=attempt, remedy=remedy, needed=True)


def refuse(error: Exception) -> object:
    def attempt() -> str:
        raise error

    return attempt


def test_a_feature_that_works_is_one_sentence_with_its_detail() -> None:
    finding = feature(lambda: "four of them").examine()
    assert finding.ok
    assert finding.sentence == "can roll (four of them)"
    assert finding.advice() == "can roll (four of them)"


def test_a_feature_that_is_missing_gives_the_reason_and_the_remedy() -> None:
    finding = feature(refuse(MissingError("it is square"))).examine()
    assert not finding.ok
    assert finding.advice() == "cannot roll: it is square; buy a new one"


def test_a_host_that_refuses_even_the_question_lacks_the_feature() -> None:
    finding = feature(refuse(PermissionError(errno.EACCES, "Permission denied", "/proc/wheel"))).examine()
    assert not finding.ok
    assert "Permission denied" in finding.sentence


def test_every_feature_that_can_be_missing_has_a_remedy() -> None:
    assert [name for name, row in doctor.FEATURES.items() if not row.remedy] == []


def test_every_finding_of_this_host_is_a_sentence_of_its_own() -> None:
    findings = doctor.examine()
    assert [finding.name for finding in findings] == list(doctor.FEATURES)
    assert all(finding.sentence.startswith("can " if finding.ok else "cannot ") for finding in findings)
    assert len({finding.sentence for finding in findings if finding.ok}) == sum(finding.ok for finding in findings)


def test_the_report_opens_with_the_verdict() -> None:
    verdict = doctor.report().splitlines()[1]
    assert verdict.startswith("Containers can run here" if doctor.can_run() else "No container can run here")


def test_trials_leave_nothing_in_the_directory_they_are_made_in(tmp_path: Path) -> None:
    assert trial.trial("namespace", "user")() == ""
    doctor.FEATURES["mount-api"].examine()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CELLHOLD_HOME", str(tmp_path))
        doctor.FEATURES["overlayfs"].examine()
    assert list(tmp_path.iterdir()) == []


def test_a_trial_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="No such file or directory"):
        trial.trial("overlay", str(tmp_path / "nonsuch"))()


def test_a_trial_that_crashes_is_told_with_its_status() -> None:
    with pytest.raises(MissingError, match="the trial ended with status 1"):
        trial.trial("nonsuch")()


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "limit on namespaces is used up"),
        (errno.ENOSYS, "this kernel does not have it"),
        (errno.EPERM, "Operation not permitted"),
    ],
)
def test_a_system_call_that_is_refused_is_explained(number: int, words: str) -> None:
    assert words in trials._reason(OSError(number, os.strerror(number)))


def test_an_old_kernel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    old = os.uname_result(("Linux", "host", "5.10.0-28-amd64", "", "x86_64"))
    monkeypatch.setattr("os.uname", lambda: old)
    assert doctor.FEATURES["kernel"].examine().sentence.endswith("it is Linux 5.10.0-28-amd64, older than 5.19")


def test_a_controller_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cellhold.cgroups.available", lambda: {"memory": "v2"})
    assert doctor.FEATURES["cgroup-memory"].examine().sentence.endswith("(cgroup v2)")
    assert "no cgroup controller 'pids' here" in doctor.FEATURES["cgroup-pids"].examine().sentence


@pytest.mark.requires("root", "user-namespace")
def test_root_of_a_container_is_told_that_it_is_confined() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(RUNTIME)!r}); from cellhold import doctor; print(doctor.FEATURES['root'].examine().sentence)"
    )
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-c", code]
    assert "root is confined here: it is root of a user namespace" in subprocess.check_output(command, text=True)


@pytest.mark.requires("root")
def test_without_any_privilege_the_whole_report_still_comes_and_says_no() -> None:
    code = f"import sys; sys.path.insert(0, {str(RUNTIME)!r}); from cellhold import doctor; print(doctor.report())"
    command = ["unshare", "--user", sys.executable, "-c", code]  # nobody, with no capability and no home
    report = subprocess.check_output(command, text=True, env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"})
    assert "No container can run here" in report
    assert "remedy:" in report
