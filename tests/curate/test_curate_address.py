"""Which hosts may be asked, and how fast."""

from __future__ import annotations

import asyncio
import socket

import pytest

from supir_curate.fetching.address import (
    BadUrl,
    PrivateAddress,
    PublicResolver,
    Reach,
    checked_url,
    is_public,
)
from supir_curate.fetching.pace import HostPace
from supir_curate.fetching.robots import opt_out

PUBLIC = Reach(private=False, ports=(80, 443))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
        "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::a00:1", "64:ff9b::7f00:1",
        "192.0.0.8", "192.88.99.1", "fec0::1", "3fff::1",
    ],
)  # fmt: skip
def test_addresses_off_the_public_internet_are_refused(address):
    assert is_public(address) is False


@pytest.mark.parametrize("address", ["8.8.8.8", "151.101.1.69", "2606:4700::1111", "64:ff9b::808:808"])
def test_public_addresses_pass(address):
    assert is_public(address) is True


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("file:///etc/passwd", "scheme 'file' is not http or https"),
        ("ftp://example.org/a.jpg", "scheme 'ftp'"),
        ("//example.org/a.jpg", "scheme ''"),
        ("http:///a.jpg", "no host"),
        ("http://user:secret@example.org/", "credentials"),
        ("http://example.org:22/", "port 22 is not one of 80, 443"),
        ("http://example.org:99999/", "not a URL"),
        ("http://[::1/", "not a URL"),
        ("http://2130706433/", "not an address in its full form"),
        ("http://127.1/", "not an address in its full form"),
        ("http://127.0.0.01/", "not an address in its full form"),
        (f"http://{'ä' * 64}.example/", "not a URL: host 'ä+.example' is no name"),
    ],
)
def test_urls_that_may_not_be_asked_say_why(url, message):
    with pytest.raises(BadUrl, match=message):
        checked_url(url, PUBLIC)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:10.0.0.1]", "169.254.169.254"])
def test_private_addresses_in_urls_need_permission(host):
    with pytest.raises(PrivateAddress):
        checked_url(f"http://{host}/", PUBLIC)
    assert checked_url(f"http://{host}:8080/", Reach(private=True, ports=())).port == 8080


def test_a_name_of_which_one_address_is_private_is_refused(monkeypatch):
    addresses = ["93.184.216.34", "10.0.0.7"]
    monkeypatch.setattr("supir_curate.fetching.address.system_addresses", lambda host: addresses)

    async def ask(reach):
        resolver = PublicResolver(reach, 3.0)
        try:
            return await resolver.resolve("rebinding.example")
        finally:
            resolver.close()

    assert asyncio.run(ask(Reach(private=True, ports=()))) == addresses
    with pytest.raises(PrivateAddress, match=r"rebinding\.example resolves to 10\.0\.0\.7"):
        asyncio.run(ask(PUBLIC))


@pytest.mark.parametrize(
    ("answer", "asked"),
    [
        (["93.184.216.34"], 1),
        (socket.gaierror(socket.EAI_NONAME, "no such name"), 1),
        (socket.gaierror(socket.EAI_AGAIN, "try again"), 3),
    ],
)
def test_a_name_is_asked_for_once_unless_the_answer_may_change(monkeypatch, answer, asked):
    calls = []

    def addresses(host):
        calls.append(host)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("supir_curate.fetching.address.system_addresses", addresses)

    async def ask():
        resolver = PublicResolver(PUBLIC, 3.0)
        found = [
            await asyncio.gather(resolver.resolve("a.example"), return_exceptions=True) for _ in range(3)
        ]
        resolver.close()
        return [one for (one,) in found]

    for found in asyncio.run(ask()):
        assert found == answer or (type(found), found.args) == (socket.gaierror, answer.args)
    assert calls == ["a.example"] * asked


def test_a_known_name_is_asked_for_again_after_a_minute(monkeypatch):
    answers = [["93.184.216.34"], ["10.0.0.7"]]
    monkeypatch.setattr("supir_curate.fetching.address.system_addresses", lambda host: answers.pop(0))
    monkeypatch.setattr("supir_curate.fetching.address.KNOWN_S", 0.05)

    async def ask():
        resolver = PublicResolver(PUBLIC, 3.0)
        try:
            assert await resolver.resolve("a.example") == await resolver.resolve("a.example")
            await asyncio.sleep(0.1)
            await resolver.resolve("a.example")
        finally:
            resolver.close()

    with pytest.raises(PrivateAddress, match=r"10\.0\.0\.7"):
        asyncio.run(ask())


def test_requests_to_one_host_start_apart_and_other_hosts_do_not_wait():
    async def starts(pace, hosts):
        loop, began = asyncio.get_running_loop(), asyncio.get_running_loop().time()
        times = {}

        async def ask(number, host):
            async with pace.turn(host):
                times[number] = loop.time() - began

        await asyncio.gather(*(ask(number, host) for number, host in enumerate(hosts)))
        return times

    times = asyncio.run(starts(HostPace(concurrency=4, delay_s=0.1), ["a", "a", "a", "b"]))
    assert times[1] - times[0] >= 0.095
    assert times[2] - times[0] >= 0.195  # the second may have been late, the third waits for its own time
    assert times[3] < times[1]


def test_no_more_than_the_given_number_is_under_way():
    async def most_at_once():
        pace, under_way, most = HostPace(concurrency=2, delay_s=0), 0, 0

        async def ask():
            nonlocal under_way, most
            async with pace.turn("a"):
                under_way += 1
                most = max(most, under_way)
                await asyncio.sleep(0.01)
                under_way -= 1

        await asyncio.gather(*(ask() for _ in range(8)))
        return most

    assert asyncio.run(most_at_once()) == 2


def test_only_idle_hosts_are_forgotten(monkeypatch):
    monkeypatch.setattr("supir_curate.fetching.pace.MAX_HOSTS", 2)

    async def remembered():
        pace = HostPace(concurrency=1, delay_s=0)
        for host in ("idle", "other"):
            async with pace.turn(host):
                pass
        async with pace.turn("busy"), pace.turn("more"), pace.turn("most"):
            return set(pace._hosts)

    assert asyncio.run(remembered()) == {"busy", "more", "most"}


@pytest.mark.parametrize(
    ("tags", "tdm", "refused"),
    [
        (["noai"], None, True),
        (["noindex, NoImageAI"], None, True),
        (["supir-curate: noai"], None, True),
        (["otherbot: noai"], None, False),
        (["noindex"], None, False),
        ([], "1", True),
        ([], "0", False),
        (["otherbot: noindex", "noai"], None, True),
        (["*: noai"], None, True),
        (["max-image-preview: large, noai"], None, True),
        (["max-snippet:-1, noindex"], None, False),
    ],
)
def test_headers_that_refuse_use_for_ai_are_seen(tags, tdm, refused):
    assert (opt_out(tags, tdm, "supir-curate/0.1") is not None) is refused
