"""Answers as servers send them and browsers take them: codings, lengths, types, redirects, and a shared crawl delay."""

from __future__ import annotations

import asyncio
import gzip
import io
import zlib
from itertools import pairwise

import pyarrow as pa
import pytest
from fetch_settings import CONFIG, MAX_BYTES, PACE
from PIL import Image

from supir_curate.config import FetchConfig
from supir_curate.fetching.fetch import Fetcher
from supir_curate.sources.candidate import Candidate
from supir_curate.verdict import Reason


def raw_deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflater.compress(data) + deflater.flush()


def arrow(coding: str, data: bytes) -> bytes:
    return pa.Codec(coding).compress(data, asbytes=True)


PLAIN = (
    "none",
    "identity",
    "UTF-8",
    "binary",
    "aws-chunked",
    "utf-8, binary",
    "",
    "gzip",
    "x-gzip",
    "br",
    "zstd",
)
CODED = {
    "gzip": gzip.compress,
    "X-GZIP": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": raw_deflate,
    "br": lambda data: arrow("brotli", data),
    "zstd": lambda data: arrow("zstd", data),
    "aws-chunked, gzip": gzip.compress,
    "gzip, UTF-8": gzip.compress,
    "gzip, gzip": lambda data: gzip.compress(gzip.compress(data)),
    "gzip,br": lambda data: arrow("brotli", gzip.compress(data)),
}


def one_page(fetched, web_server, handler, path="/a.jpg", pages=()):
    server = web_server({path: handler, **dict(pages)})
    return fetched(CONFIG, [server.url(path)])[0]


@pytest.mark.parametrize("coding", [*PLAIN, "deflate", "compress", "gzip, br"])
def test_a_plain_body_is_taken_whatever_coding_its_header_names(fetched, web_server, page, jpeg, coding):
    original = one_page(fetched, web_server, page(200, jpeg, {"Content-Encoding": coding}))
    assert (original.reason, original.data) == (None, jpeg)


@pytest.mark.parametrize("kind", ["TIFF", "AVIF", "JPEG2000", "BMP"])
def test_every_kind_that_can_be_read_is_fetched(fetched, web_server, page, kind):
    file = io.BytesIO()
    Image.new("RGB", (48, 32), (9, 99, 199)).save(file, kind)
    original = one_page(fetched, web_server, page(200, file.getvalue()))
    assert (original.reason, original.data) == (None, file.getvalue())


def test_a_kind_without_its_reader_is_refused_with_what_to_install(fetched, web_server, page, monkeypatch):
    monkeypatch.setattr("supir_curate.fetching.fetch.is_readable", lambda _kind: False)
    monkeypatch.setattr(
        "supir_curate.fetching.fetch.how_to_read", lambda kind: f"install the reader of {kind}"
    )
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)
    original = one_page(fetched, web_server, page(200, heic))
    assert (original.reason, original.detail) == (
        Reason.NO_READER,
        "a heic picture: install the reader of heic",
    )


@pytest.mark.parametrize("coding", CODED)
def test_a_coded_body_is_decoded(fetched, web_server, page, jpeg, coding):
    original = one_page(fetched, web_server, page(200, CODED[coding](jpeg), {"Content-Encoding": coding}))
    assert (original.reason, original.data) == (None, jpeg)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
def test_the_cap_counts_what_comes_out(fetched, web_server, page, jpeg, coding):
    bomb = CODED[coding](jpeg + bytes(50 * MAX_BYTES))
    assert len(bomb) < MAX_BYTES
    original = one_page(fetched, web_server, page(200, bomb, {"Content-Encoding": coding}))
    assert (original.reason, original.data) == (Reason.TOO_MANY_BYTES, b"")
    assert f"more than {MAX_BYTES} bytes came out of" in original.detail


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (lambda jpeg: gzip.compress(jpeg)[:-9], Reason.CONNECTION_FAILED),
        (lambda jpeg: arrow("zstd", jpeg)[:-9], Reason.CONNECTION_FAILED),
        (lambda jpeg: gzip.compress(jpeg)[:30] + bytes(999), Reason.HTTP_ERROR),
        (lambda jpeg: gzip.compress(b"<!doctype html>" * 9), Reason.NOT_AN_IMAGE),
    ],
)
def test_a_coded_body_that_is_no_whole_picture_says_why(fetched, web_server, page, jpeg, body, reason):
    data = body(jpeg)
    coding = "zstd" if data.startswith(b"\x28\xb5") else "gzip"
    original = one_page(fetched, web_server, page(200, data, {"Content-Encoding": coding}))
    assert (original.reason, original.data) == (reason, b"")


def test_a_coded_body_waits_until_there_is_room_for_what_it_gives(
    fetched, web_server, page, jpeg, monkeypatch
):
    """The cap on held bytes is below one body's, so each of eight goes on alone, and all come whole."""
    monkeypatch.setattr("supir_curate.fetching.fetch.HELD_BYTES", 1)
    server = web_server({"/a.jpg": page(200, gzip.compress(jpeg), {"Content-Encoding": "gzip"})})
    assert [one.data for one in fetched(CONFIG, [server.url("/a.jpg")] * 8)] == [jpeg] * 8


def test_robots_rules_count_when_they_come_coded(fetched, web_server, page, jpeg):
    rules = gzip.compress(b"User-agent: *\nDisallow: /a.jpg\n")
    robots = page(200, rules, {"Content-Encoding": "gzip"})
    original = one_page(fetched, web_server, page(200, jpeg), pages={"/robots.txt": robots}.items())
    assert original.reason is Reason.ROBOTS_DISALLOWED


@pytest.mark.parametrize(
    "kind", ["text/html", "application/octet-stream", "application/json", "video/mp4", "x"]
)
def test_first_bytes_decide_and_no_content_type(fetched, web_server, page, jpeg, kind):
    head = {"Content-Type": kind}
    original = one_page(fetched, web_server, page(200, jpeg, head))
    assert (original.data, original.evidence.content_type) == (jpeg, kind)
    assert one_page(fetched, web_server, page(200, b"<html>" * 9, head)).reason is Reason.NOT_AN_IMAGE


def sized(jpeg, *lengths, cut=0):
    """A page whose Content-Length lies, and which ends its connection."""

    def answer(handler):
        handler.send_response(200)
        for length in lengths:
            handler.send_header("Content-Length", length)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(jpeg[: len(jpeg) - cut])

    return answer


@pytest.mark.parametrize("length", ["abc", "-1", "", "+99"])
def test_a_length_that_is_none_is_passed_over(fetched, web_server, jpeg, length):
    assert one_page(fetched, web_server, sized(jpeg, length)).data == jpeg


def test_lengths_that_differ_are_passed_over(fetched, web_server, jpeg):
    assert one_page(fetched, web_server, sized(jpeg, "100", "200")).data == jpeg


def test_more_announced_than_there_is_counts_as_whole_only_with_the_pictures_own_end(
    fetched, web_server, jpeg
):
    longer = str(len(jpeg) + 500)
    assert one_page(fetched, web_server, sized(jpeg, longer)).data == jpeg
    cut = one_page(fetched, web_server, sized(jpeg, longer, cut=100))
    assert (cut.reason, cut.data) == (Reason.CONNECTION_FAILED, b"")


def test_the_length_of_a_chunked_body_says_nothing(fetched, web_server, jpeg):
    def chunked(handler):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.send_header("Content-Length", str(10 * MAX_BYTES))
        handler.end_headers()
        handler.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(jpeg), jpeg))

    def answer(handler):
        handler.protocol_version = "HTTP/1.1"
        handler.close_connection = True
        chunked(handler)

    assert one_page(fetched, web_server, answer).data == jpeg


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/caf\xe9.jpg", "/caf%E9.jpg"),
        ("/café.jpg".encode().decode("latin-1"), "/caf%C3%A9.jpg"),
        ("b c.jpg", "/x/b%20c.jpg"),
        ("../b.jpg#part", "/b.jpg"),
        ("\\b\\c.jpg", "/b/c.jpg"),
        ("?q=\xe9", "/x/a.jpg?q=%E9"),
        ("  /b.jpg\t", "/b.jpg"),
        ("/b/%2e%2e/c.jpg", "/c.jpg"),
    ],
)
def test_a_location_leads_where_it_leads_in_a_browser(fetched, web_server, page, jpeg, location, path):
    moved = page(302, headers={"Location": location})
    original = one_page(fetched, web_server, moved, "/x/a.jpg", {path: page(200, jpeg)}.items())
    assert (original.reason, original.data) == (None, jpeg), original.detail


def test_a_location_may_name_a_host_alone(fetched, web_server, page, jpeg):
    server = web_server({"/b.jpg": page(200, jpeg)})
    moved = page(301, headers={"Location": f"//LOCALHOST:{server.port}/b.jpg"})
    assert one_page(fetched, web_server, moved).data == jpeg


def test_robots_rules_hold_for_every_way_of_writing_a_path(fetched, web_server, page, jpeg):
    rules = page(200, b"User-agent: *\nDisallow: /secret/\n")
    server = web_server({"/robots.txt": rules, "/secret/a.jpg": page(200, jpeg)})
    ways = ("/secret/a.jpg", "/x/../secret/a.jpg", "/%2e/secret/a.jpg", "\\secret\\a.jpg", "/sec\tret/a.jpg")
    reasons = [one.reason for one in fetched(CONFIG, map(server.url, ways))]
    assert (reasons, server.asked("/secret/a.jpg")) == ([Reason.ROBOTS_DISALLOWED] * len(ways), 0)


def test_a_pause_may_be_asked_for_by_a_date(fetched, web_server, page, jpeg):
    answers = [page(503, headers={"Retry-After": "Mon, 01 Jan 2024 00:00:00 GMT"}), page(200, jpeg)]
    assert one_page(fetched, web_server, lambda handler: answers.pop(0)(handler)).data == jpeg


@pytest.mark.parametrize("fetchers", [2, 3])
def test_a_crawl_delay_holds_for_all_fetchers_together(web_server, page, jpeg, fetchers):
    delay_s = 0.3
    robots = page(200, f"User-agent: *\nCrawl-delay: {delay_s}\n".encode())
    server = web_server({"/robots.txt": robots, "/a.jpg": page(200, jpeg)})
    config = FetchConfig(pace=PACE)

    async def collect(number):
        fetcher = Fetcher(config, True, fetchers, number)
        try:
            candidates = [Candidate(server.url("/a.jpg"))] * 4
            return [one.data async for batch in fetcher.originals(candidates) for one in batch]
        finally:
            await fetcher.close()

    async def together():
        return await asyncio.gather(*map(collect, range(fetchers)))

    assert asyncio.run(together()) == [[jpeg] * 4] * fetchers
    times = sorted(when for when, _, path in server.requests if path == "/a.jpg")
    gaps = [after - before for before, after in pairwise(times)]
    assert len(times) == 4 * fetchers
    assert min(gaps) >= delay_s
    assert times[-1] - times[0] <= (4 * fetchers + fetchers) * (delay_s + 0.1)  # no slot is wasted


@pytest.mark.parametrize("start", [b"", b"ICY 200 OK\r\n\r\n"])
def test_an_answer_that_is_no_http_says_so_and_blames_no_url(fetched, web_server, jpeg, start):
    original = one_page(fetched, web_server, lambda handler: handler.wfile.write(start + jpeg))
    assert original.reason is Reason.HTTP_ERROR
    assert original.detail.startswith("no HTTP answer")
