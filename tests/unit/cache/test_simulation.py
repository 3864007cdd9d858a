"""The simulator beside plain references, its bounds above every policy, and its traces in every form."""

from __future__ import annotations

import gzip
import itertools
import json
import lzma
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
from content_cache.entry import Address
from content_cache.eviction import POLICIES, Lru, make_policy
from content_cache.simulation.__main__ import main, simulate
from content_cache.simulation.bound import clairvoyant, upper_bound
from content_cache.simulation.capacity import parse_capacity
from content_cache.simulation.replay import footprint, replay
from content_cache.simulation.trace import Request, TraceError, cost_of_tokens, read_trace
from hypothesis import given, settings
from hypothesis import strategies as st

SIZES = {"a": 3, "b": 5, "c": 2, "d": 7, "e": 1}
TRACES = st.lists(st.sampled_from(sorted(SIZES)), max_size=40)


def requests_of(names: str | list[str]) -> list[Request]:
    """Make requests, each name with its size and cost."""
    return [Request(Address("", name), SIZES[name], 10 * SIZES[name]) for name in names]


def lru_hits(requests: list[Request], capacity: int) -> int:
    """Count LRU's hits with an ordered dictionary and nothing of ours."""
    held: OrderedDict[Address, int] = OrderedDict()
    hits = 0
    for each in requests:
        if each.address in held:
            hits += 1
            held.move_to_end(each.address)
        elif each.size_bytes <= capacity:
            while sum(held.values()) + each.size_bytes > capacity:
                held.popitem(last=False)
            held[each.address] = each.size_bytes
    return hits


@given(names=TRACES, capacity=st.integers(1, 15))
def test_lru_is_lru(names: list[str], capacity: int) -> None:
    """Hits are an independent reference's, at any size."""
    requests = requests_of(names)
    assert replay(requests, Lru(), capacity=capacity).hits == lru_hits(requests, capacity)


@given(names=TRACES, capacity=st.integers(1, 15), policy=st.sampled_from(sorted(POLICIES)))
def test_nothing_exceeds_the_bound(names: list[str], capacity: int, policy: str) -> None:
    """No policy, nor the one that knows the future, hits or saves more than the bound."""
    requests = requests_of(names)
    for outcome in (
        replay(requests, make_policy(policy), capacity=capacity),
        clairvoyant(requests, capacity=capacity),
    ):
        assert outcome.hits <= upper_bound(requests, capacity=capacity, gain=lambda _: 1) + 1e-9
        most = upper_bound(requests, capacity=capacity, gain=lambda each: each.cost_micros)
        assert outcome.saved_micros <= most + 1e-6
        assert outcome.requests == len(requests)


@settings(max_examples=60)
@given(names=st.lists(st.sampled_from("abc"), max_size=8), capacity=st.integers(1, 10))
def test_the_bound_is_above_the_true_optimum(names: list[str], capacity: int) -> None:
    """Every choice of what to keep is tried: the best is within the bound, and not below the clairvoyant."""
    requests = requests_of(names)
    best = 0
    for keeps in itertools.product((False, True), repeat=len(requests)):
        held: set[str] = set()
        hits = 0
        for each, keep in zip(requests, keeps, strict=True):
            hits += each.address.key in held
            held.discard(each.address.key)
            if keep:
                held.add(each.address.key)
            if sum(SIZES[key] for key in held) > capacity:
                break
        else:
            best = max(best, hits)
    assert clairvoyant(requests, capacity=capacity).hits <= best
    assert best <= upper_bound(requests, capacity=capacity, gain=lambda _: 1) + 1e-9


def test_the_bound_is_what_fits() -> None:
    """Ten requests for `c` and others in turn: a reuse takes 2 bytes for 2 moments, then `e` is cheapest."""
    requests = requests_of("cacbcdcecacbcdcecacb")
    most = {room: upper_bound(requests, capacity=room, gain=lambda _: 1) for room in (2, 3, 100)}
    assert most[2] == 9 + (2 * 20 - 9 * 4) / (1 * 8)
    assert most[100] == 9 + 6
    assert clairvoyant(requests, capacity=2).hits == 9


def test_an_outcome_in_figures() -> None:
    """Ratios, dollars and dollars per GiB of a replay that can be done by hand."""
    outcome = replay(requests_of("aabba"), Lru(), capacity=5)
    assert (outcome.hits, outcome.bytes_hit, outcome.evictions) == (2, 8, 2)
    assert outcome.hit_ratio == 0.4
    assert outcome.byte_hit_ratio == 8 / 19
    assert outcome.saved_micros == 80
    assert outcome.saved_dollars_per_gib(1024**3) == outcome.saved_dollars == 80e-6
    assert footprint(requests_of("aabba")) == 8


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_traces_in_every_form(tmp_path: Path, suffix: str) -> None:
    """Sizes with and without cost, and tokens as CSV, plain or compressed, are the same requests."""
    forms: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}
    packed = forms[suffix]
    sizes, tokens = tmp_path / f"sizes.trace{suffix}", tmp_path / f"tokens.csv{suffix}"
    sizes.write_bytes(packed(b"1 x 68\n2 y 7454 12\n\n"))
    tokens.write_bytes(packed(b"TIMESTAMP,ContextTokens,GeneratedTokens\nt,374,44\nt,10,1\n"))
    assert read_trace(sizes) == [Request(Address("", "x"), 68, 0), Request(Address("", "y"), 7454, 12)]
    first, second = read_trace(tokens)
    assert (first.size_bytes, first.cost_micros) == (176, cost_of_tokens(374, 44)) == (176, 83)
    assert first.address != second.address


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 x\n", "line 1: expected `time id size [cost]`"),
        ("1 x 5\n2 y -5\n", "line 2: size must be a whole number, is '-5'"),
        ("1 x 5 1.5\n", "line 1: cost must"),
        ("A,ContextTokens\n1,2\n", "line 2: GeneratedTokens must be a whole number, is None"),
    ],
)
def test_a_bad_trace_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """The error names file, line and field."""
    path = tmp_path / "bad.trace"
    path.write_text(text)
    with pytest.raises(TraceError) as refused:
        read_trace(path)
    assert str(refused.value).startswith(f"{path}: {said}")


def test_what_is_no_trace_is_refused(tmp_path: Path) -> None:
    """A file that is missing, cut off or not text is an error with its name, never a traceback."""
    (tmp_path / "cut.xz").write_bytes(lzma.compress(b"1 x 5\n" * 1000)[:40])
    (tmp_path / "no.gz").write_bytes(b"plain")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("cut.xz", "no.gz", "binary", "missing"):
        with pytest.raises(TraceError, match=name):
            read_trace(tmp_path / name)


def test_capacities() -> None:
    """Bytes, binary units and parts of the footprint; anything else is refused by name."""
    given_sizes = ("1000", "512MiB", "1.5GiB", "5%", "2 KiB")
    sizes = [parse_capacity(each, footprint=1000) for each in given_sizes]
    assert sizes == [1000, 512 << 20, 3 << 29, 50, 2048]
    for bad in ("5GB", "-1", "", "0", "%"):
        with pytest.raises(ValueError, match="capacity: "):
            parse_capacity(bad, footprint=1000)


def test_a_question_is_answered_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each policy at each size as asked, then the clairvoyant and the bound; a bad name is one line."""
    path = tmp_path / "small.trace"
    path.write_text("".join(f"{now} {now % 3} 100 7\n" for now in range(9)))
    assert main([str(path), "--policy", "gdsf,lru", "--capacity", "100%,100"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == simulate(path, ["gdsf", "lru"], ["100%", "100"])
    assert (answer["requests"], answer["footprint_bytes"]) == (9, 300)
    everything, little = answer["capacities"]
    assert [each["policy"] for each in little["results"]] == ["gdsf", "lru", "clairvoyant", "bound"]
    assert {each["hit_ratio"] for each in everything["results"]} == {round(6 / 9, 6)}
    assert everything["results"][0]["saved_dollars"] == 42e-6
    assert main([str(path), "--policy", "fifo"]) == 2
    assert capsys.readouterr().err == "policy: fifo unknown; there are lru, sieve, gdsf\n"


def test_the_command_line_shows_it(tmp_path: Path) -> None:
    """`factory cache simulate` prints a table or JSON; what is wrong is one line and exit code 1."""
    path = tmp_path / "small.trace"
    path.write_text("".join(f"{now} {now % 3} 100 7\n" for now in range(9)))
    command = [str(Path(sys.executable).with_name("factory")), "cache", "simulate"]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *arguments], check=False, capture_output=True, text=True)

    shown = run(str(path), "--capacity", "100%")
    assert shown.returncode == 0
    assert [line.split()[2:5] for line in shown.stdout.splitlines() if "lru" in line] == [
        ["lru", "66.7%", "66.7%"]
    ]
    assert json.loads(run(str(path), "--json").stdout)["requests"] == 9
    refused = run(str(tmp_path / "missing"))
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "missing" in refused.stderr
