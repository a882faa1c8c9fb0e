"""Whom the server of `dyad up` answers: its own hosts and pages, and programs, which send no origin."""

import asyncio
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from flows.server.deployments import without_command
from flows.server.ui_app import Message, Receive, Send, only_own, own_names
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
    for headers in ({"Host": "evil.example"}, {"Host": f"evil.example:{port}"}, {"Origin": "http://evil.example"}):
        assert is_refused(httpx.post(filtered, json={}, headers=headers))
        assert is_refused(httpx.options(filtered, headers=PREFLIGHT | {"Origin": "http://evil.example"} | headers))
        assert is_refused(httpx.get(root, headers=headers))
    for origin in (root, f"http://localhost:{port}"):
        told = httpx.post(filtered, json={}, headers={"Origin": origin})
        assert told.status_code == 200
        assert told.headers["access-control-allow-origin"] == origin
        assert httpx.options(filtered, headers=PREFLIGHT | {"Origin": origin}).status_code == 200
    assert "access-control-allow-origin" not in httpx.post(filtered, json={}).headers


def test_the_running_server_has_web_sockets_for_its_own_only(own_server: OwnServer) -> None:
    address = f"ws{own_server.url.removeprefix('http')}/events/in"
    with connect(address):
        pass
    with connect(address, origin=own_server.url.removesuffix("/api")):  # type: ignore[arg-type]
        pass
    with pytest.raises(InvalidStatus) as refused:
        connect(address, origin="http://evil.example")  # type: ignore[arg-type]
    assert refused.value.response.status_code == 403
    assert b"not those of 'http://evil.example'" in (refused.value.response.body or b"")


def test_a_run_cannot_name_a_command(own_server: OwnServer, tmp_path: Path) -> None:
    retention = own_server.ask("deployments/name/retention/retention")["id"]
    variables = {"command": f"touch {tmp_path / 'executed'}", "working_dir": str(own_server.folder)}
    asked = {"parameters": {"outputs": [str(tmp_path)]}, "job_variables": variables}
    run = own_server.ask(f"deployments/{retention}/create_flow_run", asked)
    assert own_server.ended(run["id"]) == "COMPLETED"
    assert not (tmp_path / "executed").exists()


def test_a_pool_that_took_commands_takes_none_after_deploy(own_server: OwnServer) -> None:
    pool = own_server.ask("work_pools/dyad")
    template = pool["base_job_template"]
    template["job_configuration"]["command"] = "{{ command }}"
    template["variables"]["properties"]["command"] = {"type": "string"}
    own_server.ask("work_pools/dyad", {"base_job_template": template, "concurrency_limit": 7}, "PATCH")
    try:
        assert own_server.dyad("deploy").returncode == 0
        after = own_server.ask("work_pools/dyad")
        assert "command" not in after["base_job_template"]["job_configuration"]
        assert "command" not in after["base_job_template"]["variables"]["properties"]
        assert after["concurrency_limit"] == 7, "the limits are the user's"
    finally:
        own_server.ask("work_pools/dyad", {"concurrency_limit": None}, "PATCH")


def test_a_command_of_the_pool_itself_stays() -> None:
    def template(command: str, default: str | None) -> dict[str, object]:
        properties = {"command": {"default": default}, "env": {}}
        return {"job_configuration": {"command": command}, "variables": {"type": "object", "properties": properties}}

    for given in (template("{{ command }}", "nice engine"), template("nice engine", None)):
        assert without_command(given)["job_configuration"] == {"command": "nice engine"}
        assert without_command(given)["variables"] == {"type": "object", "properties": {"env": {}}}
