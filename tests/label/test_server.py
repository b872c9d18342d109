"""The server: its protection against other pages, and the requests of the page."""

import io
import os
import shutil
import socket
import time
from pathlib import Path

import httpx2
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from gpu_ssl.errors import UsageError
from gpu_ssl.label.displayed import open_below
from gpu_ssl.label.server import bind, make_app
from gpu_ssl.label.session import Session
from tests.label.conftest import MakeSession
from tests.label.hostile import HOSTILE, SCRIPT

TOKEN = "a-token"
BASE = "http://127.0.0.1:8000"


def client_of(session: Session, base: str = BASE) -> TestClient:
    return TestClient(make_app(session, TOKEN), base_url=base, raise_server_exceptions=False)


@pytest.fixture
def session(make_session: MakeSession) -> Session:
    return make_session("zero", "one")


@pytest.fixture
def client(session: Session) -> TestClient:
    client = client_of(session)
    assert client.get(f"/?token={TOKEN}").status_code == 200
    return client


def post(client: TestClient, what: str, body: object = None, **headers: str) -> httpx2.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(f"/api/{what}", json=body or {}, headers=names)


def test_nothing_is_given_without_the_token(session: Session) -> None:
    client = client_of(session)
    for path in ("/", "/?token=", "/?token=guessed", "/static/label.js", "/image/0"):
        assert client.get(path).status_code == 403, path
    assert post(client, "label", {"page": "p", "labels": {"1": "one"}}).status_code == 403
    assert session.said() == {}


def test_the_token_leaves_the_address_for_a_cookie(session: Session) -> None:
    client = client_of(session)
    answer = client.get(f"/?token={TOKEN}", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "a@127.0.0.1", ""])
def test_another_host_is_refused(client: TestClient, host: str) -> None:
    """DNS rebinding: a stranger's name that leads to this machine."""
    for path in ("/", "/image/0", f"/?token={TOKEN}"):
        assert client.get(path, headers={"host": host}).status_code == 403
    assert post(client, "state", host=host).status_code == 403


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1:9000", "[::1]:9000"])
def test_another_port_is_not(session: Session, host: str) -> None:
    """``ssh -L`` may forward any."""
    client = client_of(session, f"http://{host}")
    assert client.get(f"/?token={TOKEN}").status_code == 200
    assert post(client, "state", origin=f"http://{host}").status_code == 200


def test_a_server_for_all_addresses_answers_to_numbers_and_its_own_name(session: Session) -> None:
    """A page of a stranger's name is refused as ever."""
    app = make_app(session, TOKEN, ["0.0.0.0"])
    for host in ("192.168.7.7:8000", "[fe80::1]:8000", f"{socket.gethostname()}:8000"):
        client = TestClient(app, base_url=f"http://{host}")
        assert client.get(f"/?token={TOKEN}").status_code == 200, host
    assert client.get("/", headers={"host": "evil.example"}).status_code == 403
    assert client_of(session, "http://192.168.7.7:8000").get(f"/?token={TOKEN}").status_code == 403


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:8001", "http://localhost:8000"]
)
def test_pages_of_other_origins_are_refused(session: Session, client: TestClient, origin: str) -> None:
    assert post(client, "label", {"labels": {"1": "one"}}, origin=origin).status_code == 403
    assert client.get("/image/0", headers={"origin": origin}).status_code == 403
    assert session.said() == {}


def test_what_a_form_or_image_of_another_site_sends_is_refused(session: Session, client: TestClient) -> None:
    assert client.post("/api/undo", data={"page": "p"}).status_code == 403
    assert client.post("/api/undo", content="{}", headers={"content-type": "text/plain"}).status_code == 403
    assert client.get("/image/0", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert client.get("/api/undo").status_code == 405
    assert client.post("/api/state", json={"name": "x" * 2**21}).status_code == 403


def test_every_answer_forbids_what_the_page_does_not_need(client: TestClient) -> None:
    for path in ("/", "/image/0", "/static/label.css", "/nothing"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    "path",
    ["/image/D/../labels.csv", "/image/D/..%2flabels.csv", "/image/D/-1", "/image/D/400",
     "/image/D/0.png", "/image/0", "/image/0000000000000000/0",
     "/static/../server.py", "/static/%2e%2e/server.py", "/static/..%2f..%2fpyproject.toml", "/etc/passwd"],
)  # fmt: skip
def test_no_path_leads_to_a_file(session: Session, client: TestClient, path: str) -> None:
    """Nor to images of other images, which a browser may still keep."""
    assert client.get(f"/image/{session.digest}/0").status_code == 200
    answer = client.get(path.replace("/D/", f"/{session.digest}/"))
    assert answer.status_code in (403, 404)
    assert b"import" not in answer.content


@pytest.mark.parametrize(
    "body",
    [{"labels": {"../x": "one"}}, {"labels": {"400": "one"}}, {"labels": {"-1": "one"}}, {"labels": {"1": 5}},
     {"labels": {"1": "a\nb"}}, {"labels": {"1": ""}}, {"labels": {"1": "unlabelled"}},
     {"path": "/etc/passwd"}, {"labels": {"1": "x" * 201}}, [], "text"],
)  # fmt: skip
def test_what_no_page_sends_is_refused(session: Session, client: TestClient, body: object) -> None:
    answer = client.post("/api/label", json=body)
    assert answer.status_code == 400
    assert answer.json()["problem"]
    assert session.said() == {}
    assert not session.store.path.exists()


def test_hostile_names_come_back_as_data(session: Session, client: TestClient) -> None:
    row = session.row_of(HOSTILE)
    answer = post(client, "label", {"page": "p", "labels": {str(row): SCRIPT}})
    assert answer.headers["content-type"] == "application/json"
    assert {"name": SCRIPT, "count": 1} in answer.json()["state"]["classes"]
    (picture,) = post(client, "describe", {"rows": [row]}).json()["found"]
    assert (picture["name"], picture["label"]) == (HOSTILE, SCRIPT)
    assert session.store.labels() == {HOSTILE: SCRIPT}


def pixels(content: bytes) -> np.ndarray:  # type: ignore[type-arg]
    return np.asarray(Image.open(io.BytesIO(content)).convert("L"))


def test_a_picture_that_became_a_link_shows_what_was_read_at_the_start(
    make_session: MakeSession, photos: Path, tmp_path: Path
) -> None:
    place, secret = tmp_path / "copy", tmp_path / "secret.png"
    shutil.copytree(photos, place)
    (place / "deep").mkdir()
    shutil.copy(place / "0007.png", place / "deep" / "0007.png")
    Image.new("L", (64, 64), 255).save(secret)
    session = make_session(place=place)
    client = client_of(session)
    client.get(f"/?token={TOKEN}")
    rows = [session.row_of("0001.png"), session.row_of("deep/0007.png")]
    (place / "0001.png").unlink()
    (place / "0001.png").symlink_to(secret)
    shutil.rmtree(place / "deep")
    (tmp_path / "elsewhere").mkdir()
    Image.new("L", (64, 64), 255).save(tmp_path / "elsewhere" / "0007.png")
    (place / "deep").symlink_to(tmp_path / "elsewhere")
    for row in rows:
        for size in ("small", "large"):
            shown = pixels(client.get(f"/image/{session.digest}/{row}?size={size}").content)
            assert np.array_equal(shown, session.images.images[row, 0])


@pytest.mark.parametrize("name", ["../secret", "a/../../secret", "/etc/passwd", "link", "inner/link", "pipe"])
def test_only_files_below_the_folder_are_opened(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "inner" / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(folder / "pipe")
    with pytest.raises(OSError), open_below(folder, name) as file:  # noqa: PT011 (of any kind)
        file.read()


def test_large_photographs_are_shown_finer_than_models_see_them(
    make_session: MakeSession, tmp_path: Path
) -> None:
    place = tmp_path / "large"
    place.mkdir()
    rng = np.random.default_rng(0)
    for i in range(8):
        Image.fromarray(rng.integers(256, size=(300, 400, 3), dtype=np.uint8)).save(place / f"{i}.png")
    session = make_session(place=place)
    assert session.images.image_shape == (3, 64, 64) or session.images.image_shape == (3, 48, 64)
    for _ in range(2):  # made, then kept
        small = Image.open(io.BytesIO(session.displayed.small(3).content))
        assert small.size == (256, 192)
    assert Image.open(io.BytesIO(session.displayed.large(3).content)).size == (400, 300)
    kept = list((tmp_path / "cache" / "thumbnails").rglob("*.jpg"))
    assert [path.name for path in kept] == ["3.jpg"]


def test_labels_are_on_disk_when_the_answer_comes(session: Session, client: TestClient) -> None:
    answer = post(client, "label", {"page": "p", "labels": {"1": "one", "2": "zero", "3": "unknown"}})
    state = answer.json()["state"]
    assert (state["labelled"], state["none"]) == (2, 1)
    names = session.images.names
    assert (
        session.store.path.read_text() == f"path,label\n{names[1]},one\n{names[2]},zero\n{names[3]},unknown\n"
    )


def test_undo_takes_back_what_this_page_said_unless_another_has_changed_it(
    session: Session, client: TestClient
) -> None:
    post(client, "label", {"page": "a", "labels": {"1": "one", "2": "one"}})
    post(client, "label", {"page": "b", "labels": {"2": "zero"}})
    back = post(client, "undo", {"page": "a"}).json()["found"]
    assert [own["number"] for own in back] == [1]
    assert session.said() == {2: "zero"}
    assert post(client, "undo", {"page": "a"}).json()["found"] == []
    post(client, "undo", {"page": "b"})
    assert session.said() == {2: "one"}


def test_images_of_a_class_can_be_looked_through(client: TestClient) -> None:
    post(client, "label", {"page": "a", "labels": {"5": "one", "2": "one", "7": "zero"}})
    found = post(client, "labelled", {"name": "one", "count": 1, "start": 1}).json()["found"]
    assert [own["number"] for own in found] == [5]


def test_a_model_of_one_class_is_not_written(client: TestClient) -> None:
    post(client, "label", {"page": "a", "labels": {"5": "one", "2": "one"}})
    assert "two classes" in post(client, "write").json()["problem"]


def test_a_port_that_is_taken_is_told() -> None:
    with bind("127.0.0.1", 0) as taken, pytest.raises(UsageError, match="`port`"):
        bind("127.0.0.1", taken.getsockname()[1])


def test_whole_numbers_are_one_class_however_they_are_written(make_session: MakeSession) -> None:
    """What is written as 1.0 is read as 1."""
    session = make_session("1.0", "2")
    client = client_of(session)
    client.get(f"/?token={TOKEN}")
    state = post(client, "label", {"page": "a", "labels": {"1": "1.0", "2": "2.0"}}).json()["state"]
    assert {own["name"]: own["count"] for own in state["classes"]} == {"1": 1, "2": 1}
    assert len(post(client, "undo", {"page": "a"}).json()["found"]) == 2
    assert session.said() == {}


def test_a_model_asked_for_while_one_is_written_is_written_too(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, fits = session.learner, []

    def attempt(work: object) -> None:
        if work == learner._final:
            fits.append(learner.writing)
            if len(fits) == 1:
                learner.write()

    monkeypatch.setattr(learner, "_attempt", attempt)
    monkeypatch.setattr(learner, "_begin", lambda: None)
    learner._threads[0].start()
    learner.write()
    give_up = time.monotonic() + 20
    while learner.writing and time.monotonic() < give_up:
        time.sleep(0.01)
    learner._stopped = True
    learner.changed()
    assert fits == [True, True]
