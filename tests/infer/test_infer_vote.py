"""The blind vote: order and resume of a ballot, the page's server over HTTP, and a planted order found again."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from limits import HANGS_AFTER_S
from PIL import Image, PngImagePlugin
from served_votes import served
from skimage import data

from supir_console import UserError
from supir_infer.ballot import BallotBox, questions
from supir_infer.eval_cli import main
from supir_infer.vote_result import result
from supir_infer.vote_server import VoteServer
from supir_infer.vote_session import NotAsked, VoteSession

METHODS = ("a", "b", "c", "d")


def write(path: Path, level: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 200, (24, 32, 3), dtype=np.uint8) + np.uint8(level)
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("supir", json.dumps({"model": path.parent.name}))
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path, pnginfo=chunks)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Four runs of five pictures; a picture's red level tells, to the test alone, which run it is of."""
    for number, method in enumerate(METHODS):
        for name in range(5):
            write(tmp_path / method / f"{name}.png", 10 * number, name)
    return tmp_path


def session(runs: Path, **options: Any) -> VoteSession:
    methods = options.pop("methods", METHODS)
    files = {method: {path.stem: path for path in (runs / method).glob("*.png")} for method in methods}
    settings = {"lq": {}, "box": BallotBox(runs / "votes.jsonl"), "voter": "v", "seed": 0} | options
    return VoteSession(files, **settings)


def test_every_pair_of_every_picture_is_asked_once_and_after_any_number_all_pictures_about_as_often():
    asked = questions({str(name): METHODS for name in range(5)}, 0, "v")
    assert len({question.asks() for question in asked}) == len(asked) == 5 * 6
    for number in range(len(asked)):
        counts = Counter(question.picture for question in asked[: number + 1])
        assert max(counts.values()) - min(counts.get(str(name), 0) for name in range(5)) <= 1


def test_sides_and_order_are_drawn_and_another_voter_gets_others():
    pictures = {str(name): METHODS for name in range(60)}
    asked = questions(pictures, 0, "v")
    on_the_left = Counter(question.left for question in asked)
    assert all(abs(count - 90) < 30 for count in on_the_left.values())  # of 180, deviation 6.7
    assert [question.picture for question in asked[:60]] != sorted(pictures)
    assert questions(pictures, 0, "v") == asked
    assert questions(pictures, 0, "w") != asked
    assert questions(pictures, 1, "v") != asked


def test_a_ballot_goes_on_behind_its_last_answer_and_a_torn_line_is_cut_off(runs):
    first = session(runs)
    for choice in ("left", "tie", "right"):
        first.vote(first.state()["id"], choice, 1.5)
    after_three = first._asked.question
    with (runs / "votes.jsonl").open("ab") as stream:
        stream.write(b'{"id": "half a li')
    again = session(runs)
    assert (again.state()["answered"], again.state()["total"]) == (3, 30)
    assert again._asked.question == after_three
    again.vote(again.state()["id"], "left", 1)
    lines = (runs / "votes.jsonl").read_text().splitlines()
    assert [json.loads(line)["choice"] for line in lines] == ["left", "tie", "right", "left"]


def test_voters_who_vote_at_the_same_time_lose_no_vote_of_one_another(runs):
    one, two = session(runs, voter="one"), session(runs, voter="two")
    for _ in range(3):
        one.vote(one.state()["id"], "left", 1.0)
        two.vote(two.state()["id"], "right", 1.0)
    one.back()
    with (runs / "votes.jsonl").open("ab") as stream:
        stream.write(b'{"id": "half a li')
    two.vote(two.state()["id"], "tie", 1.0)
    kept = BallotBox(runs / "votes.jsonl")
    assert Counter(answer.voter for answer in kept.answers) == {"one": 2, "two": 4}
    assert [answer.id for answer in two.answers()] == [answer.id for answer in kept.answers]
    assert kept.bad_lines == 0


def test_votes_whose_file_was_taken_away_are_written_again_with_the_next(runs):
    voter = session(runs)
    for _ in range(2):
        voter.vote(voter.state()["id"], "left", 1.0)
    (runs / "votes.jsonl").unlink()
    voter.vote(voter.state()["id"], "right", 1.0)
    kept = BallotBox(runs / "votes.jsonl")
    assert [answer.choice for answer in kept.answers] == ["left", "left", "right"]
    assert (kept.bad_lines, session(runs).state()["answered"]) == (0, 3)


def test_an_answer_that_was_taken_back_is_asked_again_and_does_not_count(runs):
    first = session(runs)
    asked = first._asked.question
    first.vote(first.state()["id"], "left", 1)
    first.back()
    assert first._asked.question == asked
    assert (first.state()["answered"], first.answers()) == (0, [])
    again = session(runs)
    assert (again._asked.question, again.answers()) == (asked, [])
    again.back()  # nothing is left to take back
    assert again.state()["answered"] == 0


def test_lines_that_are_no_votes_are_counted_and_votes_on_files_that_changed_do_not_count(runs):
    first = session(runs)
    first.vote(first.state()["id"], "left", 1)
    answered = first.answers()[0]
    with (runs / "votes.jsonl").open("a") as stream:
        stream.write('nonsense\n{"id": 1}\n[1]\n')
    assert session(runs).box.bad_lines == 3
    write(runs / answered.left / f"{answered.picture}.png", 3, 99)
    changed = session(runs)
    assert (changed.answers(), changed.stale, changed.state()["answered"]) == ([], 1, 0)
    assert changed._asked.question.asks() == answered.question().asks()


def test_pairs_that_cannot_be_compared_fairly_are_apart_with_their_reason(runs):
    (runs / "a" / "0.png").write_bytes(b"broken")
    Image.open(runs / "a" / "1.png").resize((16, 16)).save(runs / "a" / "1.png")
    Image.open(runs / "b" / "2.png").save(runs / "a" / "2.png")  # the same pixels in another file
    (runs / "a" / "3.png").unlink()
    asked = session(runs, methods=("a", "b"))
    assert (asked._asked.question.picture, asked.state()["total"]) == ("4", 1) or len(asked._open) > 1
    while not asked.is_finished():
        asked.vote(asked.state()["id"], "tie", 1)
    assert [answer.picture for answer in asked.answers()] == ["4"]
    assert [title.split(":")[0] for title in asked.identical] == ["2"]
    reasons = {title.split(":")[0]: reason for title, reason in asked.left_out.items()}
    assert reasons["0"].startswith("0.png: no kind of picture")
    assert "32x24" in reasons["1"]
    assert "only equal sizes are compared" in reasons["1"]


def test_an_answer_to_another_question_or_none_of_the_three_is_refused(runs):
    asked = session(runs)
    number = asked.state()["id"]
    for choice in ("both", None, ["left"]):
        with pytest.raises(NotAsked, match="is no answer; use left, right, tie"):
            asked.vote(number, choice, 1)
    asked.vote(number, "left", float("nan"))
    with pytest.raises(NotAsked, match="has its answer already"):
        asked.vote(number, "left", 1)
    assert [answer.seconds for answer in asked.answers()] == [0.0]


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=HANGS_AFTER_S) as answer:
        return answer.read()


def post(url: str, body: object, kind: str = "application/json") -> dict[str, Any]:
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, payload, {"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=HANGS_AFTER_S) as answer:
        return json.load(answer)


def run_of(png: bytes) -> int:
    """Which run a picture is of, by its darkest level."""
    return int(np.asarray(Image.open(BytesIO(png))).min()) // 10


def test_the_pictures_tell_nothing_of_their_run(runs):
    with served(session(runs, lq={"0": runs / "a" / "0.png"})) as url:
        seen = b""
        for _ in range(5):
            state = json.loads(get(f"{url}/question"))
            sides = [get(f"{url}/picture/{state[side]}") for side in ("one", "two")]
            assert all(not getattr(Image.open(BytesIO(side)), "text", None) for side in sides)
            seen += json.dumps(state).encode() + sides[0] + sides[1]
            post(f"{url}/vote", {"question": state["id"], "choice": "left", "seconds": 1})
        assert str(runs).encode() not in seen
        assert b"supir" not in seen
        assert b"<title>" in get(url)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(f"{url}/picture/{state['one']}")  # of a question that has its answer


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        (b"{}", "text/plain", 400),  # what a page of another origin could send unasked
        (b"[1]", "application/json", 400),
        (b"{", "application/json", 400),
        (b" " * 5000, "application/json", 400),
        ({"question": "x", "choice": "left"}, "application/json", 409),
    ],
)
def test_what_is_no_answer_is_refused_and_counts_nothing(runs, body, kind, code):
    asked = session(runs)
    with served(asked) as url:
        with pytest.raises(urllib.error.HTTPError) as refused:
            post(f"{url}/vote", body, kind)
        assert refused.value.code == code
        assert json.loads(get(f"{url}/question"))["answered"] == 0


def test_a_planted_order_is_found_with_200_votes_over_http(tmp_path):
    """Four runs 0.8 apart in strength, 5 % ties; the voter sees pixels alone."""
    for number, method in enumerate(METHODS):
        for name in range(34):
            write(tmp_path / method / f"{name}.png", 10 * number, name)
    draw = np.random.default_rng(4)
    planted = [0.8, 2.4, 0.0, 1.6]
    asked = session(tmp_path, limit=200)
    with served(asked) as url:
        state = json.loads(get(f"{url}/question"))
        assert state["total"] == 200
        while not state["finished"]:
            left, right = (planted[run_of(get(f"{url}/picture/{state[side]}"))] for side in ("one", "two"))
            prefers_left = draw.random() < 1 / (1 + np.exp(right - left))
            choice = "tie" if draw.random() < 0.05 else "left" if prefers_left else "right"
            state = post(f"{url}/vote", {"question": state["id"], "choice": choice, "seconds": 1})
    found = result(METHODS, session(tmp_path).answers())
    assert found["num_votes"] == 200
    assert [one["method"] for one in found["standings"]] == ["b", "d", "a", "c"]
    for one in found["standings"]:
        low, high = one["interval"]
        assert low < planted[METHODS.index(one["method"])] - np.mean(planted) < high
    assert found["left_chosen"]["p_value"] > 0.01


def test_a_voter_who_always_clicks_left_is_told(runs, command: Callable):
    asked = session(runs)
    while not asked.is_finished():
        asked.vote(asked.state()["id"], "left", 0.2)
    line = ("vote", *(runs / method for method in METHODS), "-o", runs / "votes.jsonl", "--result")
    ended = command(main, *line)
    assert ended.code == 0, ended.err
    assert "30 votes, of which 0 ties" in ended.out
    assert "left was chosen in 30 of 30 votes (p 1.9e-09): the sides were drawn" in ended.out


def test_votes_hold_for_the_files_wherever_they_lie_and_runs_are_called_as_they_are_given(
    runs, command: Callable, monkeypatch
):
    asked = session(runs)
    while not asked.is_finished():
        question = asked._asked.question
        asked.vote(asked.state()["id"], "left" if question.left < question.right else "right", 1)
    for method in METHODS:
        (runs / method).rename(runs / f"run_{method}")
    monkeypatch.chdir(runs)
    named = [f"run_{method}" for method in METHODS]
    found = json.loads(command(main, "vote", *named, "--result", "--json").out)
    assert [one["method"] for one in found["standings"]] == named
    assert found["preferences"][0]["p_value"] == pytest.approx(2 / 2**5)
    out = command(main, "vote", *named, "--result").out
    assert out.startswith("30 votes, of which 0 ties\n1. run_a: strength +")
    assert "run_b over run_d: 94% (68% to 99%) of 5 votes, p 0.062" in out


def test_wrong_usage_of_a_vote_is_one_line(runs, command: Callable):
    (runs / "other").mkdir()
    photo = runs / "other" / "z.png"
    Image.fromarray(data.chelsea()[:20, :20]).save(photo)
    before = photo.read_bytes()
    with VoteServer("127.0.0.1", 0, session(runs)) as taken:
        port = taken.server_address[1]
        cases = [
            ((runs / "a",), "give two or more folders, each once"),
            ((runs / "a", runs / "a"), "give two or more folders, each once"),
            ((runs / "a", runs / "none"), "none does not exist"),
            ((runs / "a", runs / "other"), "no picture has the same name in two of"),
            (
                (runs / "a", runs / "b", "--result", "-o", runs / "no.jsonl"),
                "no.jsonl does not exist; vote first",
            ),
            ((runs / "a", runs / "b", "-o", runs / "a"), "is a folder; give the name of a file"),
            (
                (runs / "a", runs / "b", "-o", photo),
                "z.png holds no votes; name a file of votes, or a new one",
            ),
            (
                (runs / "a", runs / "b", "-o", runs / "v.jsonl", "--port", port),
                f"127.0.0.1:{port} cannot be listened at (Address already in use); give another --port",
            ),
        ]
        for arguments, words in cases:
            ended = command(main, "vote", *arguments)
            assert (ended.code, ended.err.count("\n")) == (2, 1) or "--port" in arguments, ended.err
            assert ended.code == 2
            assert words in ended.err
    assert photo.read_bytes() == before


def test_a_port_that_is_none_is_refused(runs):
    with pytest.raises(UserError, match="cannot be listened at"):
        VoteServer("no.such.host.invalid", 1, session(runs))
