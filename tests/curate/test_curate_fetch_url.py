"""URLs as browsers read them: what WHATWG's URL Standard makes of a text is what is checked and asked for."""

from __future__ import annotations

import pytest

from supir_curate.fetching.address import BadUrl, PrivateAddress, Reach, checked_url, host_of

PUBLIC = Reach(private=False, ports=(80, 443))


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        ("HTTP://Example.ORG", "http://example.org/"),
        ("https://example.org:443/a", "https://example.org/a"),
        ("http://example.org:0080/a", "http://example.org/a"),
        ("http://example.org:/a", "http://example.org/a"),
        ("http://example.org:443/a", "http://example.org:443/a"),
        ("http:\\\\example.org\\a\\b.jpg?c\\d", "http://example.org/a/b.jpg?c\\d"),
        ("https:/example.org/a", "https://example.org/a"),
        ("http:example.org/a", "http://example.org/a"),
        (" \t\x00http://exa\nmple.org/a\r\tb \x1f", "http://example.org/ab"),
        ("http://example.org?a=b#c", "http://example.org/?a=b"),
        ("http://example.org/?", "http://example.org/?"),
        ("http://example.org/a/./b/../c/%2E%2e/d/..", "http://example.org/a/"),
        ("http://example.org/../../a", "http://example.org/a"),
        ("http://example.org//a//b", "http://example.org//a//b"),
        ("http://example.org/ü/日本 1.jpg", "http://example.org/%C3%BC/%E6%97%A5%E6%9C%AC%201.jpg"),
        ("http://example.org/50%.jpg", "http://example.org/50%.jpg"),
        ('http://example.org/[1]|{2}"<3>^`', "http://example.org/[1]|%7B2%7D%22%3C3%3E%5E%60"),
        ("http://example.org/a'b?c='d' {e}", "http://example.org/a'b?c=%27d%27%20{e}"),
        ("http://example.org/\ud83d", "http://example.org/%EF%BF%BD"),
        ("http://my_photos.example.org/", "http://my_photos.example.org/"),
        ("http://example.org./a", "http://example.org./a"),
        ("http://[2606:4700:0::1111]/a", "http://[2606:4700::1111]/a"),
        ("http://8.8.8.8/", "http://8.8.8.8/"),
    ],
)
def test_a_url_goes_out_as_browsers_write_it(text, wire):
    target = checked_url(text, PUBLIC)
    assert target.wire == wire
    assert checked_url(wire, PUBLIC).wire == wire
    assert f"{target.origin}/".startswith(wire[: len(target.origin) + 1].rstrip("?") or "/")


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("faß.de", "xn--fa-hia.de"),
        ("FAẞ.de", "xn--fa-hia.de"),
        ("ﬀ.example", "ff.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("b%C3%BCcher.example", "xn--bcher-kva.example"),
        ("BU\u0308CHER.example", "xn--bcher-kva.example"),
        ("βόλος.com", "xn--nxasmm1c.com"),
        ("ශ්\u200dරී.com", "xn--10cl1a0b660p.com"),
        ("نامه\u200cای.com", "xn--mgba3gch31f060k.com"),
        ("日本語。ｊｐ", "xn--wgv71a119e.jp"),
        ("ex\u00adample.org", "example.org"),
        ("i❤.ws", "xn--i-7iq.ws"),
        ("xn--fa-hia.de", "xn--fa-hia.de"),
        ("XN--FA-HIA.de", "xn--fa-hia.de"),
        ("טעסט.example", "xn--deba0ad.example"),
    ],
)
def test_names_in_other_letters_are_those_of_idna_2008(host, name):
    assert checked_url(f"http://{host}/a.jpg", PUBLIC).wire == f"http://{name}/a.jpg"
    assert host_of(f"http://{host}:81/a.jpg") == name


@pytest.mark.parametrize(
    "host",
    [
        "a\u200cb.com",  # a joiner where no script needs one
        "\u200d.com",
        "xn--a.de",  # no label's code
        "xn--abc.de",
        "a..b",
        "exa mple.org",
        "exa%20mple.org",
        "a%00b.org",
        "a<b.org",
        "a\ufffdb.org",
        "\u0301a.org",  # begins with a combining mark
        "מa.example",  # two directions in one label
        "",
        "a:b:c",
        "example.org:port",
        "example.org:65536",
        "example.org:-1",
        "[1::2::3]",
        "[::1",
        f"{'a' * 64}.org",
        ".".join(["a" * 60] * 5),
        "0x7f.0.0.1",
        "0x7f000001",
        "1.2.3",
        "example.1",
        "256.1.1.1",
        "user@example.org",
        "user:secret@example.org",
    ],
)
def test_what_browsers_take_for_no_host_is_none(host):
    with pytest.raises(BadUrl):
        checked_url(f"http://{host}/a.jpg", PUBLIC)


@pytest.mark.parametrize(
    "host", ["１２７.0.0.1", "127。0。0。1", "%31%32%37.0.0.1", "①②⑦.0.0.1", "[::ffff:7f00:1]"]
)
def test_an_address_is_seen_however_it_is_written(host):
    with pytest.raises(PrivateAddress):
        checked_url(f"http://{host}/", PUBLIC)


@pytest.mark.parametrize(
    "url",
    ["file:///a", "data:image/png;base64,AAAA", "a.jpg", "//a.org/b", "", "http", "http://", "http:///a"],
)
def test_what_names_no_host_is_no_url(url):
    with pytest.raises(BadUrl):
        checked_url(url, PUBLIC)
    assert host_of(url) == ""
