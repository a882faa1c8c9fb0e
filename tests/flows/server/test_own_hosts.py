"""Whom the server of `dyad up` answers: its owner, at its own hosts and in its own pages; and what its worker executes."""

import asyncio
import base64
import functools
import json
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.workers.process import ProcessWorker
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from flows.server.client import common_environment
from flows.server.deployments import fixed_template
from flows.server.password import made_password, own_password, password_for
from flows.server.ui_app import Message, Receive, Send, only_own, own_names
from tests.browser import opening
from tests.conftest import OwnServer

ADDRESS = "http://127.0.0.1:4200"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
FOREIGN_HOSTS = ("evil.example", "evil.example:4200", "localhost.evil.example:4200", "127.0.0.1:4201", "evil@localhost:4200", "")
FOREIGN_ORIGINS = (
    "http://evil.example",
    "http://evil.example:4200",
    "http://localhost",
    "http://localhost:3000",
    "https://localhost:4200",
    "http://localhost:4200.evil.example",
    "null",
)


def answer(
    method: str = "GET", listen: str = "127.0.0.1", url: str = "", address: str = ADDRESS, **headers: str
) -> httpx.Response:
    """What an application that answers every origin, as Prefect's does, says behind `only_own` at `address`."""

    async def hello(request: object) -> PlainTextResponse:
        return PlainTextResponse("hello")

    application = Starlette(routes=[Route("/", hello, methods=["GET", "POST"])])
    application.add_middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"])

    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(only_own(application, own_names(listen), url))
        async with httpx.AsyncClient(transport=transport, base_url=address) as client:
            return await client.request(method, "/", headers={**headers, **(PREFLIGHT if method == "OPTIONS" else {})})

    return asyncio.run(asked())


def is_refused(told: httpx.Response) -> bool:
    assert told.headers.get("access-control-allow-origin") != "*"
    return told.status_code == 403 and told.text.startswith("This server ") and "access-control-allow-origin" not in told.headers


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_a_foreign_host_is_refused(method: str, host: str) -> None:
    assert is_refused(answer(method, Host=host))
    assert is_refused(answer(method, Host=host, Origin=f"http://{host}")), "a name that somebody points at this machine"


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_a_foreign_origin_is_refused(method: str, origin: str) -> None:
    assert is_refused(answer(method, Origin=origin))


@pytest.mark.parametrize("host", ["localhost", "localhost:4200", "LOCALHOST:4200", "127.0.0.1", "127.0.0.1:4200", "[::1]:4200"])
def test_programs_at_its_own_hosts_go_on(host: str) -> None:
    told = answer(Host=host)
    assert told.text == "hello"
    assert "access-control-allow-origin" not in told.headers


@pytest.mark.parametrize("origin", ["http://localhost:4200", "http://127.0.0.1:4200", "http://[::1]:4200"])
def test_its_own_pages_go_on(origin: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        told = answer(method, Origin=origin)
        assert told.status_code == 200
        assert told.headers.get_list("access-control-allow-origin") == [origin]
        assert "Origin" in told.headers["vary"]


def test_the_port_of_the_web_is_not_written() -> None:
    page = [(b"host", b"127.0.0.1"), (b"origin", b"http://127.0.0.1")]
    assert [message["type"] for message in socket_messages(page, port=80)] == ["websocket.accept"]


def test_two_origins_are_no_own_one() -> None:
    given = [(b"host", b"localhost:4200"), (b"origin", b"http://localhost:4200"), (b"origin", b"http://evil.example")]
    assert [message["type"] for message in socket_messages(given)] == ["websocket.close"]


def test_to_the_network_it_is_what_host_names_and_the_address_of_the_connection() -> None:
    assert is_refused(answer(Host="server.lan:4200"))
    assert answer(listen="server.lan", Host="server.lan:4200").text == "hello"
    for listen in ("0.0.0.0", "::"):
        assert is_refused(answer(listen=listen, Host="evil.example:4200"))
        assert is_refused(answer(listen=listen, Host=f"{listen}:4200"))
        at = "http://10.0.0.1:4200"
        assert answer(listen=listen, address=at, Origin=at).text == "hello"
        assert is_refused(answer(listen=listen, address=at, Origin="http://10.0.0.2:4200"))
    both = "http://[::ffff:10.0.0.1]:4200"  # IPv4 at a socket of IPv6
    assert answer(listen="::", address=both, Host="10.0.0.1:4200", Origin="http://10.0.0.1:4200").text == "hello"


def test_a_proxy_in_front_is_named_by_the_address_of_the_ui() -> None:
    seen, origin = "https://dyad.example.org/api", "https://dyad.example.org"
    for host in ("dyad.example.org", "127.0.0.1:4200"):
        assert is_refused(answer(Host=host, Origin=origin))
        assert answer(url=seen, Host=host, Origin=origin).text == "hello"
    assert is_refused(answer(url=seen, Host="dyad.example.org", Origin="https://evil.example.org"))


def test_a_port_that_is_passed_on_is_named_by_the_address_of_the_ui() -> None:
    for host in ("box:8080", "box:4200"):  # browsers outside, workers inside
        assert is_refused(answer(Host=host))
        assert answer(url="http://box:8080/api", Host=host, Origin=f"http://{host}").text == "hello"


def socket_messages(headers: list[tuple[bytes, bytes]], port: int = 4200) -> list[Message]:
    """What is sent to a web socket that wants to connect to an application which accepts all of them."""
    sent: list[Message] = []

    async def accept(scope: Message, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    async def connected() -> None:
        scope = {"type": "websocket", "server": ("127.0.0.1", port), "headers": headers}
        await only_own(accept, own_names("127.0.0.1"))(scope, receive, send)

    asyncio.run(connected())
    return sent


def test_a_server_that_cannot_answer_a_web_socket_closes_it() -> None:
    assert [one["type"] for one in socket_messages([(b"host", b"localhost:4200")])] == ["websocket.accept"]
    (closed,) = socket_messages([(b"host", b"localhost:4200"), (b"origin", b"http://evil.example")])
    assert closed["type"] == "websocket.close"


def test_the_running_server_answers_its_own_only(own_server: OwnServer) -> None:
    root, filtered = own_server.url.removesuffix("/api"), f"{own_server.url}/flows/filter"
    port = root.rpartition(":")[2]
    owner = httpx.BasicAuth(*own_server.password)
    for headers in ({"Host": "evil.example"}, {"Host": f"evil.example:{port}"}, {"Origin": "http://evil.example"}):
        assert is_refused(httpx.post(filtered, json={}, headers=headers, auth=owner))
        assert is_refused(httpx.options(filtered, headers=PREFLIGHT | {"Origin": "http://evil.example"} | headers))
        assert is_refused(httpx.get(root, headers=headers))
    for origin in (root, f"http://localhost:{port}"):
        told = httpx.post(filtered, json={}, headers={"Origin": origin}, auth=owner)
        assert told.status_code == 200
        assert told.headers["access-control-allow-origin"] == origin
        assert httpx.options(filtered, headers=PREFLIGHT | {"Origin": origin}).status_code == 200
    assert "access-control-allow-origin" not in httpx.post(filtered, json={}, auth=owner).headers


@pytest.mark.parametrize("said", [{}, {"auth": ("dyad", "")}, {"auth": ("dyad", "guessed")}, {"cookies": {"token": "guessed"}}])
def test_another_user_of_this_machine_gets_nothing(own_server: OwnServer, said: dict[str, Any]) -> None:
    retention = own_server.ask("deployments/name/retention/retention")["id"]
    for path in ("flows/filter", "deployments/filter", f"deployments/{retention}/create_flow_run", "work_pools/", "events"):
        assert httpx.post(f"{own_server.url}/{path}", json={}, **said).status_code == 401
    assert httpx.get(f"{own_server.url}/admin/version", **said).status_code == 401
    assert httpx.patch(f"{own_server.url}/work_pools/dyad", json={}, **said).status_code == 401
    assert httpx.get(f"{own_server.url}/health", **said).status_code == 200


def test_the_password_is_for_the_owner_only_and_stays(own_server: OwnServer) -> None:
    kept = own_server.state / "password"
    assert kept.stat().st_mode & 0o777 == 0o600
    before = own_server.password
    assert len(before[1]) > 40
    for command in ("up", "status"):
        assert base64.b64encode(":".join(before).encode()).decode() in own_server.dyad(command).stdout
    assert before == own_server.password
    log = (own_server.state / "logs" / "server.log").read_text()
    assert before[1] not in log


def test_a_password_of_the_users_own_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYAD_STATE", str(tmp_path))
    made = made_password()
    assert made == made_password() == own_password()
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "me:mine")
    assert made_password() == own_password() == "me:mine"
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "me:elsewhere")
    assert password_for("http://127.0.0.1:4200/api") == "me:elsewhere", "no server of ours runs"


def test_a_password_is_said_to_the_own_server_only(own_server: OwnServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_AUTH_STRING", raising=False)
    own = ":".join(own_server.password)
    with own_server.as_owner():
        assert password_for(own_server.url) == password_for(own_server.url.replace("127.0.0.1", "localhost")) == own
        for other in ("http://127.0.0.1:9/api", own_server.url.replace("127.0.0.1", "evil.example"), "https://cloud.example/api"):
            assert password_for(other) == ""
            assert "PREFECT_API_AUTH_STRING" not in common_environment(other, {})
        assert common_environment(own_server.url, {"PREFECT_API_AUTH_STRING": "for:another"})["PREFECT_API_AUTH_STRING"] == own


def test_the_running_server_has_web_sockets_for_its_own_only(own_server: OwnServer) -> None:
    address = f"ws{own_server.url.removeprefix('http')}/events/in"

    def said(token: str, origin: str | None = None) -> str:
        with connect(address, origin=origin, subprotocols=["prefect"]) as socket:  # type: ignore[arg-type, list-item]
            socket.send(json.dumps({"type": "auth", "token": token}))
            return str(json.loads(socket.recv())["type"])

    own = ":".join(own_server.password)
    assert said(own) == said(own, own_server.url.removesuffix("/api")) == "auth_success"
    for token in ("", "dyad:guessed"):
        with pytest.raises(ConnectionClosed):
            said(token)
    with pytest.raises((InvalidStatus, ConnectionClosed)), connect(address) as legacy:
        legacy.recv()
    with pytest.raises(InvalidStatus) as refused:
        said(own, "http://evil.example")
    assert refused.value.response.status_code == 403
    assert b"not those of 'http://evil.example'" in (refused.value.response.body or b"")


ATTACK = """
async ([api, run]) => {
  const told = {}
  const asked = {parameters: {}, job_variables: {}}
  const read = async options => { const answer = await fetch(run, options); return answer.ok ? await answer.text() : "refused" }
  const headers = {"Content-Type": "application/json"}
  const json = {method: "POST", headers, body: JSON.stringify(asked), credentials: "include"}
  told.fetch = await read(json).catch(() => "refused")
  told.blind = await fetch(run, {method: "POST", mode: "no-cors", credentials: "include", body: JSON.stringify(asked)})
    .then(answer => answer.type, () => "refused")
  const form = document.createElement("form")
  Object.assign(form, {method: "post", action: run, enctype: "text/plain", target: "there"})
  form.append(Object.assign(document.createElement("input"), {name: JSON.stringify(asked).slice(0, -1) + ',"x":"', value: '"}'}))
  const frame = Object.assign(document.createElement("iframe"), {name: "there"})
  document.body.append(frame, form)
  const loaded = new Promise(end => frame.onload = end)
  form.submit()
  await Promise.race([loaded, new Promise(end => setTimeout(end, 3000))])
  told.form = "sent"
  told.socket = await new Promise(end => {
    const socket = new WebSocket(api.replace("http", "ws") + "/events/in", "prefect")
    socket.onopen = () => end("open")
    socket.onerror = () => end("refused")
  })
  return told
}
"""


@pytest.fixture
def foreign_page(tmp_path: Path) -> Iterator[str]:
    """The address of a page that another program of this machine serves."""
    (tmp_path / "page.html").write_text("<!doctype html><title>Kittens</title><h1>Kittens</h1>")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/page.html"
        server.shutdown()


def test_a_foreign_page_in_a_browser_that_knows_the_password_starts_nothing(own_server: OwnServer, foreign_page: str) -> None:
    """Also not under a name of its own that points at this machine (DNS rebinding)."""
    retention = own_server.ask("deployments/name/retention/retention")["id"]
    runs = {"flow_runs": {"deployment_id": {"any_": [retention]}}}

    def started() -> list[str]:  # the clock's own come at any time
        return [run["id"] for run in own_server.ask("flow_runs/filter", runs) if not run["auto_scheduled"]]

    before = started()
    entrance, api = own_server.entrance, own_server.url
    with opening("--host-resolver-rules=MAP evil.example 127.0.0.1") as (open_it, _):
        page = open_it(entrance)
        page.wait_for_url("**/dashboard*")
        assert page.evaluate("localStorage.getItem('prefect-password')")
        page.get_by_text("Flow Runs").first.wait_for()  # the UI is in
        rebound = api.replace("127.0.0.1", "evil.example")
        for place, at in ((foreign_page, api), (foreign_page.replace("127.0.0.1", "evil.example"), rebound)):
            page.goto(place)
            told = page.evaluate(ATTACK, [at, f"{at}/deployments/{retention}/create_flow_run"])
            assert told["fetch"] == told["socket"] == "refused"
            assert page.evaluate("localStorage.length") == 0
    assert started() == before


def test_a_run_cannot_say_what_is_executed(own_server: OwnServer, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    (tmp_path / "pandas.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    variables = {
        "command": f"touch {tmp_path / 'executed'}",
        "env": {"PYTHONPATH": str(tmp_path), "PREFECT__FLOW_ENTRYPOINT": f"{tmp_path / 'pandas.py'}:run"},
        "working_dir": str(tmp_path),
    }
    retention = own_server.ask("deployments/name/retention/retention")["id"]
    asked = {"parameters": {"outputs": [str(tmp_path)]}, "job_variables": variables}
    run = own_server.ask(f"deployments/{retention}/create_flow_run", asked)
    assert own_server.ended(run["id"]) == "COMPLETED"
    assert not (tmp_path / "executed").exists()


def test_a_deployment_with_code_of_its_own_is_refused(own_server: OwnServer, tmp_path: Path) -> None:
    """Steps of a shell, and a file; by one who is let in."""
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    step = {"prefect.deployments.steps.run_shell_script": {"script": f"touch {tmp_path / 'executed'}"}}
    there = own_server.ask("deployments/name/retention/retention")
    common = {"flow_id": there["flow_id"], "work_pool_name": "dyad"}
    for brought in ({"pull_steps": [step]}, {"entrypoint": f"{tmp_path / 'own.py'}:run"}):
        made = own_server.ask("deployments/", {"name": "own", "entrypoint": there["entrypoint"]} | common | brought)
        run = own_server.ask(f"deployments/{made['id']}/create_flow_run", {})
        assert own_server.ended(run["id"]) == "CRASHED"
        assert "Dyad's worker runs" in own_server.ask(f"flow_runs/{run['id']}")["state"]["message"]
        own_server.ask(f"deployments/{made['id']}", method="DELETE")
    assert not (tmp_path / "executed").exists()


def test_a_pool_of_an_earlier_version_takes_nothing_after_deploy(own_server: OwnServer) -> None:
    template = own_server.ask("work_pools/dyad")["base_job_template"]
    earlier = ProcessWorker.get_default_base_job_template()
    own_server.ask("work_pools/dyad", {"base_job_template": earlier, "concurrency_limit": 7}, "PATCH")
    try:
        assert own_server.dyad("deploy").returncode == 0
        after = own_server.ask("work_pools/dyad")
        assert after["base_job_template"] == template
        assert after["concurrency_limit"] == 7, "the limits are the user's"
    finally:
        own_server.ask("work_pools/dyad", {"concurrency_limit": None}, "PATCH")


def test_the_template_of_the_pool_names_all_that_is_executed() -> None:
    template = fixed_template(ProcessWorker.get_default_base_job_template(), Path("/base"))
    assert template["job_configuration"].keys() == {"name", "labels", "stream_output", "working_dir"}
    assert template["job_configuration"]["working_dir"] == "/base"
    assert not {"command", "env", "working_dir"} & template["variables"]["properties"].keys()
