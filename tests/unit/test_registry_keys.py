"""Who is shown which key: passwords and tokens go to those whom they are for, and to nobody else."""

from __future__ import annotations

import base64
import io
import json
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from cellhold.errors import InvalidSpec, RegistryFailed
from cellhold.image import mediatypes
from cellhold.image.descriptor import Descriptor
from cellhold.image.registry import Login, Logins, Registry, Settings, challenge, helpers
from cellhold.image.registry.patience import Patience
from cellhold.spec.digest import Digest
from liar import Answer, Liar

if TYPE_CHECKING:
    from pathlib import Path

    from liar import Asked

QUICK = Patience(tries=2, pause_seconds=0.01, total_seconds=30)
RAW = b'{"schemaVersion": 2}'
MANIFEST = "/v2/x/manifests/1"
LAYER = Descriptor(media_type=mediatypes.LAYER, digest=Digest.of(RAW), size_bytes=len(RAW))
BASIC = "Basic " + base64.b64encode(b"ann:secret:word").decode()


@pytest.fixture
def logins(tmp_path: Path) -> Logins:
    return Logins(tmp_path / "config.json")


def client(liar: Liar, logins: Logins) -> Registry:
    return Registry(liar.host, credentials=logins, settings=Settings(patience=QUICK))


def remember(logins: Logins, name: str, **entry: str) -> None:
    logins.path.write_text(json.dumps({"auths": {name: entry or {"auth": BASIC.removeprefix("Basic ")}}}))


def login(username: str = "", password: str = "", token: str | None = None) -> Login:
    return Login(username=username, password=password, identity_token=token)


def wants(header: str, content: Answer) -> Any:
    """An answer only for who shows a header."""

    def answer(asked: Asked) -> Answer:
        return content if asked.headers["Authorization"] == header else Answer(status=401, headers={"WWW-Authenticate": 'Basic realm="r"'})

    return answer


def wants_token(liar: Liar, token: str, content: Answer, realm: str | None = None) -> Any:
    """An answer only for who shows a token; else where to get one."""

    def answer(asked: Asked) -> Answer:
        if asked.headers["Authorization"] == f"Bearer {token}":
            return content
        said = f'Bearer realm="{realm or liar.url + "/token"}",service="s",scope="repository:x:pull"'
        return Answer(status=401, headers={"WWW-Authenticate": said})

    return answer


def test_nothing_is_shown_to_a_registry_that_does_not_ask(liar: Liar, logins: Logins) -> None:
    remember(logins, liar.host)
    liar.says("GET", MANIFEST, Answer(body=RAW))
    with client(liar, logins) as registry:
        registry.manifest("x", "1")
    assert liar.keys() == [None]


def test_a_password_is_shown_to_a_registry_that_asks_and_then_at_once(liar: Liar, logins: Logins) -> None:
    remember(logins, liar.host)
    liar.says("GET", MANIFEST, wants(BASIC, Answer(body=RAW)))
    with client(liar, logins) as registry:
        registry.manifest("x", "1")
        registry.manifest("x", "1")
    assert liar.keys() == [None, BASIC, BASIC]


@pytest.mark.parametrize("is_known", [True, False])
def test_a_wrong_password_and_none_are_one_sentence(liar: Liar, logins: Logins, is_known: bool) -> None:  # noqa: FBT001  # a parameter of the test
    if is_known:
        remember(logins, liar.host, auth=base64.b64encode(b"ann:wrong").decode())
    liar.says("GET", MANIFEST, wants(BASIC, Answer(body=RAW)))
    with client(liar, logins) as registry, pytest.raises(RegistryFailed, match=f"x:1 at {liar.host}: it answers 401") as caught:
        registry.manifest("x", "1")
    assert caught.value.status == 401
    assert "docker login" in str(caught.value.hint)
    assert len(liar.asked) == 1 + is_known


def test_a_token_is_fetched_without_a_login_and_kept(liar: Liar, logins: Logins) -> None:
    liar.says("GET", MANIFEST, wants_token(liar, "T", Answer(body=RAW)))
    liar.says("GET", "/token", Answer(body=b'{"token": "T", "expires_in": 300}'))
    with client(liar, logins) as registry:
        registry.manifest("x", "1")
        registry.manifest("x", "1")
    assert liar.keys() == [None, None, "Bearer T", "Bearer T"]
    assert parse_qs(urlsplit(liar.asked[1].path).query) == {"service": ["s"], "scope": ["repository:x:pull"]}


def test_ten_threads_fetch_one_token(liar: Liar, logins: Logins) -> None:
    liar.says("GET", MANIFEST, wants_token(liar, "T", Answer(body=RAW)))
    liar.says("GET", "/token", Answer(body=b'{"access_token": "T"}'))
    with client(liar, logins) as registry:
        threads = [threading.Thread(target=registry.manifest, args=("x", "1")) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len([path for path in liar.paths() if path.startswith("/token")]) == 1


def test_the_login_goes_to_the_token_server_and_the_token_to_the_registry(liar: Liar, logins: Logins) -> None:
    remember(logins, liar.host)
    with Liar("127.0.0.2") as server:
        liar.says("GET", MANIFEST, wants_token(liar, "T", Answer(body=RAW), realm=f"{server.url}/token"))
        server.says("GET", "/token", Answer(body=b'{"token": "T"}'))
        with client(liar, logins) as registry:
            registry.manifest("x", "1")
        assert server.keys() == [BASIC]
        assert parse_qs(urlsplit(server.asked[0].path).query)["account"] == ["ann"]
    assert liar.keys() == [None, "Bearer T"]


def test_an_identity_token_is_exchanged_for_a_token(liar: Liar, logins: Logins) -> None:
    remember(logins, liar.host, identitytoken="ID&x")
    liar.says("GET", MANIFEST, wants_token(liar, "T", Answer(body=RAW)))
    liar.says("POST", "/token", Answer(body=b'{"access_token": "T"}'))
    with client(liar, logins) as registry:
        registry.manifest("x", "1")
    form = parse_qs(liar.asked[1].body.decode())
    assert form["refresh_token"] == ["ID&x"]
    assert form["grant_type"] == ["refresh_token"]
    assert form["scope"] == ["repository:x:pull"]


def test_a_token_that_is_no_longer_taken_is_fetched_anew(liar: Liar, logins: Logins) -> None:
    liar.says("GET", MANIFEST, wants_token(liar, "1", Answer(body=RAW)))
    liar.says("GET", "/token", Answer(body=b'{"token": "1"}'), Answer(body=b'{"token": "2"}'))
    with client(liar, logins) as registry:
        registry.manifest("x", "1")
        liar.says("GET", MANIFEST, wants_token(liar, "2", Answer(body=RAW)))
        registry.manifest("x", "1")
    assert liar.keys() == [None, None, "Bearer 1", "Bearer 1", None, "Bearer 2"]


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (Answer(status=401, body=b'{"details": "incorrect username or password"}'), "it answers 401 .'incorrect username or password'"),
        (Answer(status=500), "it answers 500"),
        (Answer(body=b"{}"), "holds no token"),
        (Answer(body=b'{"token": "a\\nX-Evil: b"}'), "holds no token"),
        (Answer(body=b" " * 300_000), "holds no token"),
    ],
)
def test_a_token_server_that_gives_none_is_one_sentence(liar: Liar, logins: Logins, answer: Answer, sentence: str) -> None:
    liar.says("GET", MANIFEST, wants_token(liar, "T", Answer(body=RAW)))
    liar.says("GET", "/token", answer)
    with client(liar, logins) as registry, pytest.raises(RegistryFailed, match=rf"cannot get a token for {liar.host}: .*{sentence}"):
        registry.manifest("x", "1")


def test_a_token_server_without_tls_on_another_machine_is_not_asked(liar: Liar, logins: Logins) -> None:
    remember(logins, liar.host)
    liar.says("GET", MANIFEST, wants_token(liar, "T", Answer(body=RAW), realm="http://auth.example/token"))
    with client(liar, logins) as registry, pytest.raises(RegistryFailed, match=r"plain http at 'auth.example'"):
        registry.manifest("x", "1")


def test_a_redirect_to_another_host_does_not_carry_the_key_nor_does_the_way_back(liar: Liar, logins: Logins) -> None:
    remember(logins, liar.host)
    place = f"/v2/x/blobs/{LAYER.digest}"
    with Liar("127.0.0.2") as storage:
        liar.says("GET", place, wants(BASIC, Answer(status=307, headers={"Location": f"{storage.url}/there"})))
        storage.says("GET", "/there", Answer(status=307, headers={"Location": f"{liar.url}/back"}))
        liar.says("GET", "/back", Answer(body=RAW))
        with client(liar, logins) as registry:
            assert b"".join(registry.blob("x", LAYER)) == RAW
        assert storage.keys() == [None]
    assert liar.keys() == [None, BASIC, None]


def test_another_port_is_another_host(liar: Liar, logins: Logins) -> None:
    remember(logins, liar.host)
    with Liar() as neighbour:
        liar.says("GET", MANIFEST, wants(BASIC, Answer(status=302, headers={"Location": neighbour.url})))
        with client(liar, logins) as registry, pytest.raises(Exception, match="it answers 404"):
            registry.manifest("x", "1")
        assert neighbour.keys() == [None]


def test_an_upload_that_goes_to_another_host_does_not_carry_the_key(liar: Liar, logins: Logins) -> None:
    remember(logins, liar.host)
    with Liar("127.0.0.2") as storage:
        liar.says("HEAD", f"/v2/x/blobs/{LAYER.digest}", wants(BASIC, Answer(status=404)))
        liar.says("POST", "/v2/x/blobs/uploads/", wants(BASIC, Answer(status=202, headers={"Location": f"{storage.url}/up"})))
        storage.says("PUT", "/up", Answer(status=201))
        with client(liar, logins) as registry:
            registry.push_blob("x", LAYER, lambda: io.BytesIO(RAW))
        assert storage.keys() == [None]


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("Basic", [("basic", {})]),
        (
            'Basic realm="a, b", Bearer realm="https://x",service=s',
            [("basic", {"realm": "a, b"}), ("bearer", {"realm": "https://x", "service": "s"})],
        ),
        (r'bearer REALM="a\"b"', [("bearer", {"realm": 'a"b'})]),
        ('realm="x"', []),
        ("", []),
        ('Bearer realm="', [("bearer", {})]),
        ("Bearer " + "a=b," * 100_000, [("bearer", {"a": "b"})]),
    ],
)
def test_challenges_are_read(header: str, found: list[tuple[str, dict[str, str]]]) -> None:
    read = [(one.scheme, dict(one.parameters)) for one in challenge.parse([header])]
    assert [entry for entry in read if entry[0] in ("basic", "bearer")] == found


# ------------------------------------------------------------------------------------------------------------------ config.json


@pytest.mark.parametrize("name", ["reg.example:5000", "https://reg.example:5000/v1/", "http://reg.example:5000"])
def test_a_login_is_found_by_its_host(logins: Logins, name: str) -> None:
    remember(logins, name)
    assert logins.find("reg.example:5000") == login("ann", "secret:word")
    assert logins.find("reg.example") is None


def test_dockers_own_registry_has_a_name_of_its_own(logins: Logins) -> None:
    remember(logins, "https://index.docker.io/v1/")
    assert logins.find(Settings().endpoint("docker.io").login) is not None


def test_a_login_does_not_print_its_password(logins: Logins) -> None:
    remember(logins, "h")
    assert "secret" not in repr(logins.find("h"))


def test_without_a_file_nobody_is_logged_in(logins: Logins) -> None:
    assert logins.find("h") is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "not valid JSON"),
        ('{"auths": []}', "config.json.auths: a list is not an object"),
        ('{"auths": {"h": {"auth": "c2VjcmV0"}}}', "config.json.auths.h.auth: it is not base64 of USER:PASSWORD"),
        ('{"auths": {"h": {"auth": "%"}}}', "it is not base64"),
    ],
)
def test_a_config_that_cannot_be_understood_is_told_without_its_secrets(logins: Logins, text: str, sentence: str) -> None:
    logins.path.write_text(text)
    with pytest.raises(InvalidSpec, match=sentence) as caught:
        logins.find("h")
    assert "c2VjcmV0" not in str(caught.value)


def helper(directory: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = directory / "docker-credential-test"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")


def test_a_helper_is_asked_for_the_registry(logins: Logins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path, monkeypatch, 'read name; echo "{\\"Username\\": \\"$1\\", \\"Secret\\": \\"$name\\"}"')
    logins.path.write_text('{"credHelpers": {"h": "test"}, "auths": {"other": {"username": "u", "password": "p"}}}')
    assert logins.find("h") == login("get", "h")
    assert logins.find("other") == login("u", "p")
    logins.path.write_text('{"credsStore": "test"}')
    assert logins.find("g") == login("get", "g")


def test_a_helper_can_know_an_identity_token_or_nothing(logins: Logins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logins.path.write_text('{"credsStore": "test"}')
    helper(tmp_path, monkeypatch, """echo '{"Username": "<token>", "Secret": "T"}'""")
    assert logins.find("h") == login("", "", "T")
    helper(tmp_path, monkeypatch, "echo credentials not found in native keychain; exit 1")
    assert logins.find("h") is None


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("echo locked; exit 3", r"it says 'locked' \(exit status 3\)"),
        ("echo secret", "its answer has no Username and Secret"),
        ("exec cat /dev/zero", "too long a one"),
        ("exec sleep 60", "no answer within 0.5 seconds"),
        ("exec >&-; exec sleep 60", "no answer within 0.5 seconds"),
    ],
)
def test_a_helper_that_fails_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, sentence: str) -> None:
    helper(tmp_path, monkeypatch, script)
    with pytest.raises(RegistryFailed, match=sentence):
        helpers.ask("test", "h", seconds=0.5 if "sleep" in script else 30)


@pytest.mark.parametrize("name", ["../x", "", "none-such", "a b", "-x"])
def test_a_helper_is_a_program_on_path_and_nothing_else(name: str) -> None:
    with pytest.raises(RegistryFailed, match="there is no such program on PATH"):
        helpers.ask(name, "h")
