"""A forecast from a pilot: ranges that hold, duplicates that grow, figures that add up with the pilot's own."""

from __future__ import annotations

import io
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from supir_console import UserError, load_config
from supir_curate.config import CurateConfig
from supir_curate.forecasting.assessing import NO_PICTURE, NOT_FETCHED, hours_at_most, scorer_seconds
from supir_curate.forecasting.cost import estimate
from supir_curate.forecasting.forecast import Forecast, Range, ratio_of, share
from supir_curate.forecasting.gpu import gpu_hours
from supir_curate.forecasting.growth import MAX_GROWTH, duplicates_in_share, exponent_at, foretold
from supir_curate.forecasting.outlook import outlook
from supir_curate.forecasting.pilot import Pilot, read_pilot
from supir_curate.forecasting.words import forecast_lines
from supir_curate.sources.originals import Original
from supir_curate.sources.plan import load_plan
from supir_shards import Store


def pilot_of(kept, groups=(), parts=20, size=500):
    counts = np.full(parts, kept, dtype=np.int64)
    duplicates = sum(groups) - len(groups)
    passing = counts.copy()
    passing[0] += duplicates
    seen = np.full(parts, size, dtype=np.int64)
    reasons = {"noisy": seen - passing, "near_duplicate": passing - counts}
    return Pilot(seen, counts, passing, reasons, seen * 1000, counts * 1000, seen * 10**6, sorted(groups), 0)


def test_a_range_is_wilsons_where_parts_agree_and_wider_where_they_do_not():
    even = share(np.full(20, 50), np.full(20, 100))
    assert (round(even.low, 4), round(even.high, 4)) == (0.4781, 0.5219)  # Wilson, 1000 of 2000
    hosts = share(np.repeat([0, 100], 10), np.full(20, 100))
    assert hosts.expected == 0.5
    assert hosts.low < 0.32
    assert hosts.high > 0.68
    few = ratio_of(np.array([1, 3]), np.array([2, 2]))
    assert few.low == few.expected == few.high == 1.0


def test_nineteen_of_twenty_pilots_hold_the_truth():
    rng, hits = np.random.default_rng(1), 0
    for _ in range(200):
        of_part = rng.beta(4, 6, 30)  # parts differ, as hosts do
        found = share(rng.binomial(100, of_part), np.full(30, 100))
        hits += found.low <= 0.4 <= found.high
    assert 180 <= hits <= 199


@pytest.mark.parametrize("size", [2, 5])
def test_duplicates_in_a_share_are_what_drawing_gives(size):
    rng, pictures = np.random.default_rng(2), np.repeat(np.arange(300), size)
    drawn = [pictures[rng.random(len(pictures)) < 0.3] for _ in range(300)]
    mean = np.mean([len(one) - len(np.unique(one)) for one in drawn])
    assert duplicates_in_share(np.full(300, size), 0.3) == pytest.approx(mean, rel=0.03)


@pytest.mark.parametrize(("power", "smaller"), [(1.8, 10), (2.2, 30), (2.5, 10)])
def test_duplicates_of_a_larger_source_are_foretold_from_a_part_of_it(power, smaller):
    rng = np.random.default_rng(3)
    sizes = np.minimum(rng.zipf(power, 100_000), 300)
    source = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    truth = len(source) - len(np.unique(source))
    sample = source[: len(source) // smaller]
    _, counts = np.unique(sample, return_counts=True)
    law, least, most = foretold(counts[counts > 1].tolist(), len(sample))
    assert law.duplicates(len(source)) == pytest.approx(truth, rel=0.15)
    assert least.duplicates(len(source)) < 0.85 * truth
    assert most.duplicates(len(source)) > 1.05 * truth
    assert law.duplicates(len(sample)) == pytest.approx((counts - 1).sum())


def test_the_exponent_is_the_slope_of_the_groups_own_growth():
    sizes = np.array([2, 2, 2, 3, 7, 40])
    step = 1e-5
    for at in (0.2, 0.6, 0.99):
        rise = np.log(duplicates_in_share(sizes, at + step) / duplicates_in_share(sizes, at - step))
        assert exponent_at(sizes, at) == pytest.approx(rise / np.log((at + step) / (at - step)), rel=1e-5)


def test_the_law_is_followed_to_thirty_pilots_and_the_share_stays_beyond():
    law, _, _ = foretold([2] * 10, 10_000)
    assert (law.exponent, law.bend) == (2.0, 1.0)
    assert law.duplicates(20_000) == pytest.approx(40)
    edge = MAX_GROWTH * 10_000
    assert law.duplicates(edge) == pytest.approx(10 * MAX_GROWTH**2)
    assert law.duplicates(10 * edge) == pytest.approx(10 * law.duplicates(edge))
    none, _, unseen = foretold([], 1000)
    assert none.duplicates(10**6) == 0
    assert unseen.duplicates(2000) == pytest.approx(12)


def test_kept_and_needed_are_each_others_inverse():
    figures = Forecast(pilot_of(kept=100, groups=[2] * 30))
    needed = figures.needed(1_000_000)
    assert needed["at_best"] < needed["expected"] < needed["at_worst"]
    assert figures.kept(needed["expected"]).expected == pytest.approx(1_000_000, rel=1e-4)
    assert figures.kept(needed["at_worst"]).low == pytest.approx(1_000_000, rel=1e-4)
    same = figures.kept(10_000)
    assert same.expected == pytest.approx(2000)
    reasons = figures.reasons(10_000)
    assert reasons["noisy"]["expected"] + reasons["near_duplicate"]["expected"] == 8000


def with_roles(pilot, **shares):
    pilot.roles = {role: (pilot.passing * part).astype(np.int64) for role, part in shares.items()}
    return pilot


def test_a_quota_caps_its_role_alone_and_what_is_over_is_told():
    pilot = with_roles(pilot_of(kept=100), face=0.25, photo=0.75)
    free, capped = Forecast(pilot), Forecast(pilot, {"face": 1000})
    assert capped.kept(1000).expected == free.kept(1000).expected == pytest.approx(200)
    found = capped.kept(100_000)
    assert found.expected == pytest.approx(0.75 * 20_000 + 1000)
    assert found.low < found.expected < found.high
    assert capped.reasons(100_000)["over_quota"]["expected"] == pytest.approx(4000)
    assert capped.reasons(1000)["over_quota"] == {"expected": 0, "low": 0, "high": 0}
    assert capped.filled_at("face", 1000) == pytest.approx(20_000, abs=2)
    both = Forecast(pilot, {"face": 1000, "photo": 5000})
    assert both.kept(10**9).rounded() == {"expected": 6000, "low": 6000, "high": 6000}
    assert both.needed(6001)["expected"] is None
    assert both.needed(6000)["expected"] == pytest.approx(5000 / 0.15, rel=1e-3)


def test_duplicates_are_taken_from_all_roles_alike():
    pilot = with_roles(pilot_of(kept=100, groups=[2] * 100), face=0.5, photo=0.5)
    figures = Forecast(pilot)
    roles = figures.of_roles(50_000)
    survivors = figures.survivors(50_000)
    for end in ("expected", "high"):
        assert getattr(roles["face"], end) == pytest.approx(getattr(roles["photo"], end))
        assert getattr(roles["face"], end) >= 0.499 * getattr(survivors, end)
    assert roles["face"].expected == pytest.approx(survivors.expected / 2)


def test_captions_have_an_assumed_rate_and_other_jobs_only_a_given_one():
    kept, passing = Range(3600.0, 1800.0, 7200.0), Range(7200.0, 7200.0, 7200.0)
    assumed = gpu_hours({}, kept, passing)
    assert {*assumed} == {"captions"}
    ends = [assumed["captions"][end] for end in ("expected", "low", "high")]
    assert ends == [2.0, round(1800 * 5 / 18.8 / 3600, 2), 4.0]
    assert "assumed" in assumed["captions"]["rate"]
    given = gpu_hours({"captions": 0.5, "negatives": 0.01, "musiq": 4.0}, kept, passing)
    assert [given[job]["expected"] for job in given] == [2.0, 0.5, 0.5]
    assert given["captions"]["high"] == 4.0
    crops = gpu_hours({"musiq": 4.0}, kept, passing, samples_a_picture=1.5)
    assert [crops[job]["expected"] for job in ("captions", "musiq")] == [3.0, 0.5]


def test_the_command_tells_survivors_bytes_and_hours(finished, here):
    words = ("--candidates", 6000, "--target", 20_000_000, "--workers", 8, "--rate", "captions=2")
    summary = here("forecast", finished, *words).summary
    store = Store(finished)
    pilot = read_pilot(store, load_plan(store))
    selection = json.loads((finished / "selection.json").read_text())
    assert (int(pilot.seen.sum()), int(pilot.kept.sum())) == (60, selection["kept"])
    assert {name: int(counts.sum()) for name, counts in pilot.reasons.items()} == selection["reasons"]
    assert pilot.group_sizes == [2]
    kept = summary["kept"]
    assert kept["low"] < kept["expected"] < kept["high"] <= 6000
    assert kept["expected"] <= 100 * selection["kept"]
    ledger = pa.concat_tables([store.read_table(path) for path in store.list("ledger")])
    crawled = sum(size or 0 for size in ledger.column("bytes").to_pylist())
    assert summary["crawl_bytes"]["expected"] == 100 * crawled
    hours = summary["core_hours"]
    assert summary["pace_from"] == "the pilot's own run"
    notes = [json.loads(path.read_text()) for path in finished.glob("log/pack/*.json")]
    seconds = sum(note["cpu_seconds"] for note in notes)
    assert hours["pack"]["expected"] == pytest.approx(
        seconds / selection["kept"] * kept["expected"] / 3600, abs=0.0006
    )
    whole = hours["score"]["expected"] + hours["pack"]["expected"]
    assert summary["wall_hours"]["expected"] == pytest.approx(whole / 8, abs=0.002)
    assert summary["gpu_hours"]["captions"]["expected"] == pytest.approx(kept["expected"] / 7200, abs=0.01)
    assert summary["candidates_needed"]["expected"] > 20_000_000
    assert summary["roles"]["photo"]["before_quota"] == kept
    assert summary["disk_bytes"]["expected"] == pytest.approx(
        summary["shard_bytes"]["expected"] + summary["table_bytes"], abs=2
    )
    lines = [*forecast_lines(summary)]
    assert next(line for line in lines if line.startswith("kept")).split()[1] == f"{kept['expected']:,}"
    assert not [line for line in lines if "before its quota" in line]
    again = here("forecast", finished, "--target", 20_000_000).summary
    assert again["candidates"] == summary["candidates_needed"]["expected"]


def test_crops_are_captioned_each_by_itself(own_copy):
    path = own_copy / "dataset.json"
    manifest = json.loads(path.read_text())
    whole = outlook(Store(own_copy), 10**6, 0, 1, [])
    assert whole["samples"] == whole["kept"]
    manifest["totals"]["num_samples"] *= 3
    manifest["totals"]["samples"]["photo"] *= 3
    path.write_text(json.dumps(manifest))
    crops = outlook(Store(own_copy), 10**6, 0, 1, [])
    assert crops["samples"]["expected"] == pytest.approx(3 * crops["kept"]["expected"], rel=1e-4)
    hours = [found["gpu_hours"]["captions"]["expected"] for found in (whole, crops)]
    assert hours[1] == pytest.approx(3 * hours[0], rel=1e-3)
    assert any(line.startswith("  stored, crops counted") for line in forecast_lines(crops))


def test_without_the_originals_there_are_no_hours_and_no_guess(own_copy, tmp_path):
    plan = json.loads((own_copy / "plan.json").read_text())
    (own_copy / "plan.json").write_text(json.dumps(plan | {"source": str(tmp_path / "gone")}))
    shutil.rmtree(own_copy / "log")
    assert outlook(Store(own_copy), 10**6, 0, 1, [])["core_hours"] is None
    (own_copy / "plan.json").write_text(json.dumps(plan))
    summary = outlook(Store(own_copy), 10**6, 0, 1, [])
    assert summary["pace_from"] == "6 pictures measured now"
    assert 0 < summary["core_hours"]["score"]["expected"] < 1000


def test_a_quota_of_the_pilots_selection_holds_for_the_whole_run(own_copy):
    path = own_copy / "selection.json"
    selection = json.loads(path.read_text())
    selection["config"]["quotas"] = {"photo": {"count": 50}}
    path.write_text(json.dumps(selection))
    summary = outlook(Store(own_copy), 10**6, 0, 1, [], gpus=2)
    assert (summary["kept"]["expected"], summary["kept"]["high"]) == (50, 50)
    photo = summary["roles"]["photo"]
    assert (photo["quota"], photo["binds"]) == (50, "as expected")
    assert photo["filled_at_candidates"] < 1000
    captions = summary["gpu_hours"]["captions"]
    assert captions["expected"] == round(50 * 5 / 2.5 / 3600, 2)
    assert summary["gpu_wall_hours"]["high"] == round(captions["high"] / 2, 2)
    said = "\n".join(forecast_lines(summary))
    assert "quota 50: binds: as expected; full at" in said
    with pytest.raises(UserError, match=r"no number of candidates gives 51 .*quotas: \{'photo': 50\}"):
        outlook(Store(own_copy), 0, 51, 1, [])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--candidates N or --target N is missing"),
        (("--candidates", 9, "--rate", "captions"), "--rate 'captions' is not NAME=PICTURES_A_SECOND"),
        (("--candidates", 9, "--rate", "captions=-1"), "--rate 'captions=-1' is not NAME"),
    ],
)
def test_a_wrong_word_is_one_line(finished, here, words, message):
    with pytest.raises(UserError, match=message):
        here("forecast", finished, *words)


def test_scorers_are_timed_on_a_few_pictures_and_one_without_weights_is_named(photos):
    data = io.BytesIO()
    Image.fromarray(photos["coffee"]).save(data, "PNG")
    good, broken = (
        Original(row=0, url="coffee.png", text="", licence="", data=one)
        for one in (data.getvalue(), b"\x89PNG broken")
    )
    config = load_config(CurateConfig, None, ["assess.scorers={brisque: {}, musiq: {weights: /gone.pth}}"])
    found = scorer_seconds([broken, good, good], config)
    assert 0 < found["brisque"] < 20  # a fast machine needs a hundredth of a second
    assert found["musiq"].startswith("unknown: ")
    assert "/gone.pth" in found["musiq"]
    assert hours_at_most(found, 3600, 2) is None
    assert hours_at_most({"brisque": 0.5, "nsfw": 0.1}, 3600, 2) == 0.3
    assert scorer_seconds([broken], config) == dict.fromkeys(["brisque", "musiq"], NO_PICTURE)


def test_a_dry_run_tells_the_scorers_hours_or_that_they_are_not_known(collection, tmp_path):
    config = load_config(CurateConfig, None, ["assess.scorers={brisque: {}}"])
    told = estimate(str(collection), config, 2)
    seconds = told["scorer_seconds_a_picture"]["brisque"]
    assert told["assess_hours_at_most"] == round(told["candidates"] * seconds / 2 / 3600, 3)
    pq.write_table(pa.table({"url": ["https://example.org/a.jpg"]}), tmp_path / "urls.parquet")
    web = estimate(str(tmp_path / "urls.parquet"), config, 2)
    assert web["scorer_seconds_a_picture"] == {"brisque": NOT_FETCHED}
    assert web["assess_hours_at_most"] is None
    assert "scorer_seconds_a_picture" not in estimate(str(collection), CurateConfig(), 2)
