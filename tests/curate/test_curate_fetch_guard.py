"""Where the fetcher may not go, and what it may not hold: private addresses, odd URLs, bodies without end."""

from __future__ import annotations

import threading
import time

import pycurl
import pytest
from fetch_settings import CONFIG, MAX_BYTES, PACE
from limits import HANGS_AFTER_S

from supir_curate.config import FetchConfig, FetchPolicy
from supir_curate.fetching.held import Share
from supir_curate.fetching.transfer import GRANT_BYTES
from supir_curate.verdict import Reason


@pytest.fixture(scope="module")
def server(web_server, page, jpeg):
    return web_server({"/ok.jpg": page(200, jpeg)})


def first_is_public(monkeypatch):
    """127.0.0.1 counts as a public address from now on, and nothing else does."""
    for module in ("address", "transfer"):
        monkeypatch.setattr(
            f"supir_curate.fetching.{module}.is_public", lambda address: address == "127.0.0.1"
        )


def test_without_permission_a_private_server_is_never_asked(fetched, web_server, page, jpeg):
    server = web_server({"/ok.jpg": page(200, jpeg)})
    config = FetchConfig(policy=FetchPolicy(allowed_ports=(server.port,)), pace=PACE)
    urls = [server.url("/ok.jpg"), server.url("/ok.jpg", "localhost"), server.url("/ok.jpg", "[::1]")]
    outcomes = fetched(config, urls, allow_private=False)
    assert [one.reason for one in outcomes] == [Reason.PRIVATE_ADDRESS] * 3
    assert server.requests == []


def test_a_public_site_cannot_redirect_to_a_private_address(fetched, web_server, page, jpeg, monkeypatch):
    # 127.0.0.1 plays the public site here; 127.0.0.2 is what must not be reached.
    first_is_public(monkeypatch)
    server = web_server({"/ok.jpg": page(200, jpeg)})
    target = server.url("/ok.jpg", "127.0.0.2")
    public = web_server({"/away.jpg": page(302, headers={"Location": target}), "/ok.jpg": page(200, jpeg)})
    ports = (server.port, public.port)
    config = FetchConfig(policy=FetchPolicy(allowed_ports=ports), pace=PACE)
    urls = [public.url("/away.jpg"), public.url("/ok.jpg")]
    away, ok = fetched(config, urls, allow_private=False)
    assert (away.reason, away.detail) == (Reason.PRIVATE_ADDRESS, "127.0.0.2 is not public")
    assert ok.data == jpeg
    assert server.requests == []


def test_the_checked_address_is_the_one_connected_to(fetched, web_server, page, jpeg, monkeypatch):
    """A name that resolves differently each time is asked for once a connection, and only its checked answer used."""
    first_is_public(monkeypatch)
    answers = ["127.0.0.1", "127.0.0.2", "127.0.0.2", "127.0.0.2"]
    monkeypatch.setattr("supir_curate.fetching.address.system_addresses", lambda host: [answers.pop(0)])
    server = web_server({"/ok.jpg": page(200, jpeg)})
    policy = FetchPolicy(allowed_ports=(server.port,), honour_robots=False)
    url = server.url("/ok.jpg", "rebinding.example")
    original = fetched(FetchConfig(policy=policy, pace=PACE), [url], allow_private=False)[0]
    assert (original.data, original.evidence.address) == (jpeg, "127.0.0.1")
    assert len(answers) == 3
    again = fetched(FetchConfig(policy=policy, pace=PACE), [url], allow_private=False)[0]
    assert again.reason is Reason.PRIVATE_ADDRESS


def test_what_an_interim_answer_says_is_not_the_answers(fetched, web_server, page, jpeg):
    def hinted(handler):
        hints = f"HTTP/1.1 103 Early Hints\r\nContent-Length: {10**12}\r\nX-Robots-Tag: noai\r\n\r\n"
        handler.wfile.write(hints.encode())
        page(200, jpeg)(handler)

    server = web_server({"/hinted.jpg": hinted})
    (original,) = fetched(FetchConfig(pace=PACE), [server.url("/hinted.jpg")])
    assert (original.reason, original.data) == (None, jpeg)


@pytest.mark.parametrize("honour_robots", [True, False])
@pytest.mark.parametrize(
    "url", ["http://[::1", "http://[/a.jpg", "http://a:b/", "http://\udce9/", "", "a.jpg"]
)
def test_a_malformed_url_does_not_stop_its_part(fetched, server, jpeg, url, honour_robots):
    policy = FetchPolicy(honour_robots=honour_robots)
    bad, good = fetched(FetchConfig(policy=policy, pace=PACE), [url, server.url("/ok.jpg")])
    assert (bad.reason, bad.data) == (Reason.BAD_URL, b"")
    assert good.data == jpeg


def test_an_address_is_looked_at_once_more_before_a_socket_is_opened(
    fetched, web_server, page, jpeg, monkeypatch
):
    """Here the check of the name is fooled, as if libcurl had found another address for it."""
    server = web_server({"/ok.jpg": page(200, jpeg)})
    monkeypatch.setattr("supir_curate.fetching.address.is_public", lambda address: True)
    policy = FetchPolicy(allowed_ports=(server.port,), honour_robots=False)
    urls = [server.url("/ok.jpg", "localhost"), server.url("/ok.jpg")]
    outcomes = fetched(FetchConfig(policy=policy, pace=PACE), urls, allow_private=False)
    assert [one.reason for one in outcomes] == [Reason.PRIVATE_ADDRESS] * 2
    assert outcomes[1].detail == f"{urls[1]} leads to 127.0.0.1"
    assert server.requests == []


def test_letters_that_no_url_holds_are_encoded_on_the_way(fetched, web_server, page, jpeg):
    server = web_server({"/a%20b/%C3%BC%20[1].jpg?q=%C3%A4&r=1": page(200, jpeg)})
    assert fetched(CONFIG, [server.url("/a b/ü%20[1].jpg?q=ä&r=1#part")])[0].data == jpeg


def test_bodies_are_held_to_a_cap_and_paused_ones_go_on(fetched, web_server, jpeg, monkeypatch):
    """With room for one body and one above, eight come whole all the same, and one without end is refused."""
    monkeypatch.setattr("supir_curate.fetching.fetch.HELD_BYTES", GRANT_BYTES // PACE.concurrency)
    rooms, held, take = [], [], Share.take

    def watched(share, size, go_on):
        rooms.append(take(share, size, go_on))
        held.append(GRANT_BYTES - share._held.free)
        return rooms[-1]

    monkeypatch.setattr(Share, "take", watched)
    body = jpeg + bytes(150_000)
    all_begun = threading.Barrier(9)

    def halting(whole):
        def answer(handler):
            handler.send_response(200)
            handler.send_header("Connection", "close")
            handler.end_headers()
            handler.wfile.write(whole[:50_000])
            handler.wfile.flush()
            all_begun.wait(HANGS_AFTER_S)
            time.sleep(0.5)  # meanwhile the fetcher gets these
            handler.wfile.write(whole[50_000:])

        return answer

    server = web_server({"/large.jpg": halting(body), "/endless.jpg": halting(jpeg + bytes(4 * MAX_BYTES))})
    pace = PACE.model_copy(update={"timeout_s": 30.0})
    config = FetchConfig(policy=FetchPolicy(max_bytes=MAX_BYTES, honour_robots=False), pace=pace)
    paths = [*["/large.jpg"] * 4, "/endless.jpg", *["/large.jpg"] * 4]
    outcomes = sorted(fetched(config, list(map(server.url, paths))), key=lambda one: one.row)
    assert [one.data == body for one in outcomes] == [True] * 4 + [False] + [True] * 4
    assert outcomes[4].reason is Reason.TOO_MANY_BYTES
    assert rooms.count(False) >= 1
    assert max(held) == 2 * GRANT_BYTES


def test_names_that_no_request_needs_are_forgotten_by_libcurl(fetched, web_server, page, jpeg, monkeypatch):
    """With every request libcurl walks through all names that it knows: at most those under way, here two."""
    told = []

    class Watched(pycurl.Curl):
        def setopt(self, option, value):
            told.extend(value if option == pycurl.RESOLVE else [])
            super().setopt(option, value)

    monkeypatch.setattr(
        "supir_curate.fetching.address.system_addresses", lambda host: ["127.0.0.2", "127.0.0.1"]
    )
    monkeypatch.setattr("supir_curate.fetching.web.pycurl.Curl", Watched)
    server = web_server({"/ok.jpg": page(200, jpeg)})
    policy = FetchPolicy(honour_robots=False)
    pace = PACE.model_copy(update={"concurrency": 2})
    names = [f"host{number}.example" for number in range(6)]
    urls = [server.url("/ok.jpg", name) for name in [*names, *names]]
    outcomes = fetched(FetchConfig(policy=policy, pace=pace), urls)
    assert [(one.data, one.evidence.address) for one in outcomes] == [(jpeg, "127.0.0.2")] * 12
    known, most = set(), 0
    for entry in told:
        name = ":".join(entry.lstrip("-").split(":")[:2])
        known = known - {name} if entry.startswith("-") else known | {name}
        most = max(most, len(known))
    assert (len(told) >= 20, most) == (True, 2)
