"""Fetching from a local server that answers in every way a site can."""

from __future__ import annotations

import asyncio
import hashlib
import time

import pytest
from fetch_settings import CONFIG, MAX_BYTES, PACE

from supir_curate.config import FetchConfig, FetchPolicy
from supir_curate.fetching.fetch import Fetcher
from supir_curate.fetching.robots import Robots
from supir_curate.fetching.web import Web
from supir_curate.sources.candidate import Candidate
from supir_curate.verdict import Reason


@pytest.fixture(scope="module")
def server(web_server, page, jpeg):
    def slow(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        handler.wfile.write(jpeg[:1000])
        handler.wfile.flush()
        time.sleep(4)

    def endless(handler):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(jpeg + bytes(2 * MAX_BYTES))

    def cut(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(jpeg)))
        handler.end_headers()
        handler.wfile.write(jpeg[:2000])
        handler.close_connection = True

    def flaky(handler):
        page(200, jpeg)(handler) if flaky_calls.append(1) or len(flaky_calls) > 1 else page(503)(handler)

    flaky_calls = []
    return web_server(
        {
            "/robots.txt": page(200, b"User-agent: *\nDisallow: /private/*.jpg$\nDisallow: /secret\n"),
            "/ok.jpg": page(
                200, jpeg, {"Content-Type": "image/jpeg", "ETag": '"v1"', "X-Robots-Tag": "noindex"}
            ),
            "/private/a.jpg": page(200, jpeg),
            "/noai.jpg": page(200, jpeg, {"X-Robots-Tag": "noai"}),
            "/tdm.jpg": page(200, jpeg, {"TDM-Reservation": "1"}),
            "/page.jpg": page(200, b"<!doctype html><title>gone</title>", {"Content-Type": "image/jpeg"}),
            "/html.jpg": page(200, jpeg, {"Content-Type": "text/html; charset=utf-8"}),
            "/odd-type.jpg": page(200, jpeg, {"Content-Type": "text/plain"}),
            "/empty.jpg": page(200),
            "/zipped.jpg": page(200, jpeg, {"Content-Encoding": "gzip"}),
            "/announced.jpg": page(200, jpeg, {"Content-Length": str(MAX_BYTES + 1)}),
            "/endless.jpg": endless,
            "/slow.jpg": slow,
            "/cut.jpg": cut,
            "/flaky.jpg": flaky,
            "/forbidden.jpg": page(403),
            "/moved.jpg": page(301, headers={"Location": "/ok.jpg"}),
            "/loop.jpg": page(302, headers={"Location": "/loop.jpg"}),
            "/to-file.jpg": page(302, headers={"Location": "file:///etc/passwd"}),
            "/to-secret.jpg": page(302, headers={"Location": "/secret.jpg"}),
            "/to-nothing.jpg": page(302, headers={"Location": "http://["}),
            "/latin1.jpg": page(200, jpeg, {"ETag": "caf\xe9", "Content-Type": "image/jpeg"}),
            "/latin1-noai.jpg": page(200, jpeg, {"X-Robots-Tag": "noai, caf\xe9"}),
            "/secret.jpg": page(200, jpeg),
        }
    )


CASES = {
    "/ok.jpg": None,
    "/moved.jpg": None,
    "/flaky.jpg": None,
    "/missing.jpg": Reason.HTTP_ERROR,
    "/forbidden.jpg": Reason.HTTP_ERROR,
    "/zipped.jpg": None,
    "/private/a.jpg": Reason.ROBOTS_DISALLOWED,
    "/to-secret.jpg": Reason.ROBOTS_DISALLOWED,
    "/noai.jpg": Reason.OPTED_OUT,
    "/tdm.jpg": Reason.OPTED_OUT,
    "/page.jpg": Reason.NOT_AN_IMAGE,
    "/html.jpg": None,
    "/odd-type.jpg": None,
    "/empty.jpg": Reason.NOT_AN_IMAGE,
    "/announced.jpg": Reason.TOO_MANY_BYTES,
    "/endless.jpg": Reason.TOO_MANY_BYTES,
    "/slow.jpg": Reason.TIMED_OUT,
    "/cut.jpg": Reason.CONNECTION_FAILED,
    "/loop.jpg": Reason.TOO_MANY_REDIRECTS,
    "/to-file.jpg": Reason.BAD_URL,
    "/to-nothing.jpg": Reason.BAD_URL,
    "/latin1.jpg": None,
    "/latin1-noai.jpg": Reason.OPTED_OUT,
}


@pytest.fixture(scope="module")
def originals(fetched, server):
    return dict(zip(CASES, fetched(CONFIG, [server.url(path) for path in CASES]), strict=True))


@pytest.mark.parametrize("path", CASES)
def test_each_answer_gives_bytes_or_its_reason(originals, path, jpeg):
    original = originals[path]
    assert original.reason is CASES[path], original.detail
    assert original.data == (jpeg if CASES[path] is None else b"")


def test_originals_come_in_the_order_of_the_candidates(originals, server):
    assert [original.url for original in originals.values()] == [server.url(path) for path in CASES]
    assert [original.row for original in originals.values()] == list(range(len(CASES)))


def test_the_evidence_says_what_answered(originals, server):
    evidence = originals["/moved.jpg"].evidence
    assert evidence.final_url == server.url("/ok.jpg")
    assert evidence.redirects == server.url("/moved.jpg")
    assert (evidence.address, evidence.http_status, evidence.etag) == ("127.0.0.1", 200, '"v1"')
    assert (evidence.content_type, evidence.x_robots_tag) == ("image/jpeg", "noindex")
    assert (evidence.robots, evidence.fetched) == ("allowed", "Mon, 01 Jan 2024 00:00:00 GMT")


def test_a_refused_answer_leaves_its_evidence_too(originals):
    evidence = originals["/noai.jpg"].evidence
    assert (evidence.http_status, evidence.x_robots_tag) == (200, "noai")
    assert originals["/noai.jpg"].detail == "noai"
    assert originals["/private/a.jpg"].evidence.robots == "disallowed"


def test_what_robots_forbids_is_not_asked_for_and_robots_only_once(originals, server):
    assert server.asked("/private/a.jpg") == 0
    assert server.asked("/secret.jpg") == 0
    assert server.asked("/robots.txt") == 1


def test_only_failures_that_may_pass_are_tried_again(originals, server):
    assert server.asked("/flaky.jpg") == 2
    assert server.asked("/slow.jpg") == 2
    assert server.asked("/missing.jpg") == 1
    assert server.asked("/page.jpg") == 1


def test_permission_can_be_ignored_only_by_name(fetched, server, jpeg):
    policy = FetchPolicy(honour_robots=False, honour_opt_out=False)
    paths = ("/private/a.jpg", "/noai.jpg", "/tdm.jpg")
    config = FetchConfig(policy=policy, pace=PACE)
    assert [one.data for one in fetched(config, map(server.url, paths))] == [jpeg] * 3


@pytest.mark.parametrize(
    ("status", "reason", "asked"),
    [(404, None, 1), (401, None, 1), (429, Reason.HTTP_ERROR, 2), (500, Reason.HTTP_ERROR, 2)],
)
def test_no_robots_file_allows_and_a_failing_host_does_not(
    fetched, web_server, page, jpeg, status, reason, asked
):
    server = web_server({"/robots.txt": page(status), "/ok.jpg": page(200, jpeg)})
    original = fetched(CONFIG, [server.url("/ok.jpg")])[0]
    assert original.reason is reason
    assert original.evidence.robots == f"status {status}"
    assert original.detail == (f"robots.txt: status {status}" if reason else "")
    assert server.asked("/robots.txt") == asked
    assert server.asked("/ok.jpg") == (reason is None)


def test_a_robots_file_that_fails_once_is_asked_for_again(fetched, web_server, page, jpeg):
    answers = [page(503), page(200, b"User-agent: *\nDisallow: /secret\n")]
    server = web_server({"/robots.txt": lambda page: answers.pop(0)(page), "/ok.jpg": page(200, jpeg)})
    ok, again, secret = fetched(CONFIG, [server.url(path) for path in ("/ok.jpg", "/ok.jpg", "/secret.jpg")])
    assert (ok.data, again.data, ok.evidence.robots) == (jpeg, jpeg, "allowed")
    assert secret.reason is Reason.ROBOTS_DISALLOWED
    assert server.asked("/robots.txt") == 2


def test_a_robots_file_that_comes_too_late_is_a_time_out(fetched, web_server, page, jpeg):
    server = web_server({"/robots.txt": lambda handler: time.sleep(1.5), "/ok.jpg": page(200, jpeg)})
    quick = FetchConfig(pace=PACE.model_copy(update={"timeout_s": 0.5}))
    original = fetched(quick, [server.url("/ok.jpg")])[0]
    assert (original.reason, server.asked("/robots.txt")) == (Reason.TIMED_OUT, 2)


def test_a_host_that_does_not_exist_refused_nothing(fetched):
    gone = fetched(CONFIG, ["http://nowhere.invalid/a.jpg"])[0]
    assert (gone.reason, gone.detail[:35]) == (
        Reason.CONNECTION_FAILED,
        "robots.txt: gaierror: [Errno -2] Na",
    )


def test_what_nobody_foresaw_of_one_url_does_not_stop_its_part(fetched, server, jpeg, monkeypatch):
    target = Web.target

    def choking(web, url):
        if url.endswith("odd.jpg"):
            raise RuntimeError("odd")
        return target(web, url)

    monkeypatch.setattr(Web, "target", choking)
    odd, good = fetched(CONFIG, [server.url("/odd.jpg"), server.url("/ok.jpg")])
    assert (odd.reason, odd.detail) == (Reason.UNEXPECTED, "RuntimeError: odd")
    assert good.data == jpeg


def test_bytes_of_a_header_that_are_no_text_can_be_stored(originals):
    assert originals["/latin1.jpg"].evidence.etag == "caf\\udce9"
    assert originals["/latin1-noai.jpg"].detail == "noai, caf\\udce9"
    assert originals["/latin1-noai.jpg"].evidence.x_robots_tag == "noai, caf\\udce9"


def test_a_host_that_asks_to_wait_gets_its_pause(fetched, web_server, page, jpeg):
    answers = [page(429, headers={"Retry-After": "1"}), page(200, jpeg)]
    server = web_server({"/busy.jpg": lambda handler: answers.pop(0)(handler)})
    assert fetched(CONFIG, [server.url("/busy.jpg")])[0].data == jpeg
    first, second = (when for when, _, path in server.requests if path == "/busy.jpg")
    assert second - first >= 0.99


def test_a_crawl_delay_is_kept(fetched, web_server, page, jpeg):
    server = web_server(
        {"/robots.txt": page(200, b"User-agent: *\nCrawl-delay: 0.3\n"), "/ok.jpg": page(200, jpeg)}
    )
    fetched(CONFIG, [server.url("/ok.jpg")] * 3)
    times = [when for when, _, path in server.requests if path == "/ok.jpg"]
    assert times[2] - times[0] >= 0.55  # the first may arrive late, the others wait for their own time
    assert min(times[1] - times[0], times[2] - times[1]) >= 0.2


def test_large_robots_files_are_held_up_to_a_cap(web_server, page, monkeypatch):
    monkeypatch.setattr("supir_curate.fetching.robots.MAX_HELD_BYTES", 1000)
    server = web_server({"/robots.txt": page(200, b"#" * 600)})

    async def ask():
        async with Web(CONFIG, allow_private=True) as web:
            robots = Robots(web, "supir-curate")
            for number in (1, 2, 2, 3, 1):
                await robots.verdict(web.target(server.url("/a.jpg", f"127.0.0.{number}")))

    asyncio.run(ask())
    hosts = [host.partition(":")[0] for _, host, _ in server.requests]
    assert hosts == ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.1"]


def test_a_body_of_another_hash_than_the_list_tells_is_never_used(server, jpeg):
    url = server.url("/ok.jpg")
    right, wrong = hashlib.sha256(jpeg).hexdigest(), hashlib.md5(b"other").hexdigest()

    async def fetched():
        fetcher = Fetcher(CONFIG, True, 1)
        try:
            told = [Candidate(url, digest=right), Candidate(url, digest=wrong)]
            return [one async for batch in fetcher.originals(told) for one in batch]
        finally:
            await fetcher.close()

    good, bad = asyncio.run(fetched())
    assert (good.reason, good.data) == (None, jpeg)
    assert (bad.reason, bad.data, bad.evidence.http_status) == (Reason.HASH_MISMATCH, b"", 200)
