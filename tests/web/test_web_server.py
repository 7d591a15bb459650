"""The page's server by itself: what it serves, what it refuses, and what it says when its sidecar is away."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from guesthouse.web import server
from guesthouse.web.guest_host import GuestHost, url_from_environment
from guesthouse.web.server import LARGEST_BODY, STATIC, application

HERE = "http://127.0.0.1:8080"


@pytest.fixture(scope="module")
def nobody() -> Iterator[str]:
    """The address of a port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture(scope="module")
def page(nobody: str) -> Iterator[TestClient]:
    with TestClient(application(GuestHost(nobody, "vision")), base_url=HERE) as client:
        yield client


@pytest.mark.parametrize("file", sorted(str(path.relative_to(STATIC)) for path in STATIC.rglob("*.*")))
def test_every_file_is_served_with_its_type_and_the_guarding_headers(page: TestClient, file: str):
    response = page.get(f"/{file}")
    assert response.status_code == 200
    kinds = {"html": "text/html", "css": "text/css", "js": "javascript", "svg": "image/svg+xml", "jpg": "image/jpeg"}
    assert kinds[file.rpartition(".")[2]] in response.headers["content-type"]
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'; script-src 'self'" in response.headers["content-security-policy"]


def test_the_page_is_at_the_root(page: TestClient):
    assert "<title>Guesthouse</title>" in page.get("/").text


def test_nothing_of_the_page_comes_from_elsewhere():
    for path in (*STATIC.glob("*.js"), *STATIC.glob("*.css"), *STATIC.glob("*.html")):
        found = re.findall(r"(?:https?:)?//[\w.-]+\.\w+", path.read_text())
        assert set(found) <= {"http://www.w3.org"}, path  # the name of SVG's namespace is never fetched


def test_no_file_beside_the_page_can_be_had(page: TestClient):
    for path in ("/../server.py", "/%2e%2e/server.py", "/..%2fserver.py", "/server.py", "/examples/"):
        assert page.get(path).status_code == 404


def test_health_needs_no_sidecar(page: TestClient):
    assert (page.get("/healthz").status_code, page.get("/healthz").text) == (200, "ok\n")


@pytest.mark.parametrize(
    "path", ["/api/status", "/api/events", "/api/events?after=1-2", "/api/pictures/ab-1", "/api/guests/x"]
)
def test_without_a_sidecar_it_says_so_and_what_to_do(page: TestClient, nobody: str, path: str):
    response = page.get(path)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (502, "sidecar-away")
    assert error["title"] == "The page’s sidecar is away"
    assert nobody in error["text"]
    assert "DAPR_HTTP_PORT" in error["remedy"]
    assert response.headers["cache-control"] == "no-store"


def test_what_the_api_answers_never_becomes_a_document(page: TestClient):
    policy = page.get("/api/status").headers["content-security-policy"]
    assert policy == "default-src 'none'; sandbox; frame-ancestors 'none'"


@pytest.mark.parametrize(
    "method", ["echo", "_guesthouse/status", "api/image/../../x", "", "v1.0/secrets", "api/image/"]
)
def test_only_known_methods_can_be_called(page: TestClient, method: str):
    response = page.post(f"/api/call/{method}", content=b"x")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown-method")


@pytest.mark.parametrize("method", ["api/image", "api/grayscale"])
def test_the_two_methods_that_are_always_known_reach_for_the_sidecar(page: TestClient, method: str):
    assert page.post(f"/api/call/{method}", content=b"x").json()["error"]["code"] == "sidecar-away"


def test_a_call_is_a_post_and_nothing_else(page: TestClient):
    assert page.get("/api/call/api/image").status_code == 404


def test_a_body_over_the_limit_is_refused_by_its_length(page: TestClient):
    response = page.post("/api/call/api/image", content=b"x", headers={"content-length": str(LARGEST_BODY + 1)})
    assert (response.status_code, response.json()["error"]["code"]) == (413, "too-large")
    assert "16 MiB" in response.json()["error"]["text"]


def test_a_body_over_the_limit_is_refused_where_it_has_no_length(page: TestClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "LARGEST_BODY", 1000)
    response = page.post("/api/call/api/image", content=iter([b"x" * 600, b"x" * 600]))
    assert (response.status_code, response.json()["error"]["code"]) == (413, "too-large")


@pytest.mark.parametrize("id", ["x", "ab-1/2", "..%2fstatus", "ab-1rr", "\u0663-1"])
def test_a_picture_has_an_id_of_one_kind(page: TestClient, id: str):
    assert page.get(f"/api/pictures/{id}").status_code == 404


@pytest.mark.parametrize("name", ["x/y", "..%2fstatus", "a b", "\u00e4", "x" * 201])
def test_a_guest_has_a_name_of_one_kind(page: TestClient, name: str):
    assert page.get(f"/api/guests/{name}").status_code == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", ""])
def test_on_loopback_only_names_of_this_machine_are_answered(page: TestClient, host: str):
    response = page.get("/", headers={"host": host})
    assert (response.status_code, response.json()["error"]["code"]) == (403, "refused")


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "[::1]:8080", "LOCALHOST"])
def test_all_names_of_this_machine_are_answered(page: TestClient, host: str):
    assert page.get("/healthz", headers={"host": host}).status_code == 200


def test_where_it_listens_for_others_any_name_is_answered(nobody: str):
    with TestClient(application(GuestHost(nobody, "vision"), None), base_url="http://photos.example") as client:
        assert client.get("/").status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "https://127.0.0.1"])
def test_another_site_may_not_call(page: TestClient, origin: str):
    response = page.post("/api/call/api/image", content=b"x", headers={"origin": origin})
    assert (response.status_code, response.json()["error"]["text"]) == (403, "Another site may not call this one.")


def test_its_own_origin_may_call(page: TestClient):
    response = page.post("/api/call/api/image", content=b"x", headers={"origin": HERE})
    assert response.json()["error"]["code"] == "sidecar-away"


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, "http://127.0.0.1:3500"),
        ({"DAPR_HTTP_PORT": "3600"}, "http://127.0.0.1:3600"),
        ({"DAPR_HTTP_PORT": ""}, "http://127.0.0.1:3500"),
        ({"DAPR_HTTP_PORT": "3600", "DAPR_HTTP_ENDPOINT": "https://dapr.example/"}, "https://dapr.example"),
    ],
)
def test_the_sidecar_is_found_in_the_environment(environment: dict[str, str], url: str):
    assert url_from_environment(environment) == url


def test_a_page_with_a_token_is_for_those_who_know_it(nobody: str):
    with TestClient(application(GuestHost(nobody, "vision"), token="a: tökén"), base_url=HERE) as client:
        for path in ("/", "/api/status", "/api/call/api/image", "/page.js"):
            response = client.get(path)
            assert response.status_code == 401
            assert response.headers["www-authenticate"].startswith("Basic ")
            assert "content-security-policy" in response.headers
        assert client.get("/healthz").status_code == 200
        for wrong in (("", ""), ("a: tökén", ""), ("a", "tökén"), ("", "a: tökénn")):
            assert client.get("/", auth=wrong).status_code == 401
        for header in ("Basic", "Basic !", "Bearer", "Bearer x", "Digest a", "Basic eA=="):
            assert client.get("/", headers={"authorization": header}).status_code == 401
        assert client.get("/", auth=("anybody", "a: tökén")).status_code == 200
        assert client.get("/", headers={"authorization": "Bearer a: tökén".encode()}).status_code == 200
        assert client.get("/", headers={"authorization": "Bearer x", "origin": "http://else"}).status_code == 403
