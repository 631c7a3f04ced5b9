"""The benchmark: what it counts, what its JSON holds, and that it tells a wrong backend from a right one."""

import json

import pytest
import torch
from PIL import Image

from benchmarks import attention as benchmark
from sculpt4d.attention import backends, comparison
from sculpt4d.attention.backends import BACKENDS, AttentionCase
from sculpt4d.attention.measure import error, extra_memory, inputs, work
from sculpt4d.attention.patterns import PackedPattern, RadialPattern, SameTokenPattern, StridedPattern
from sculpt4d.attention.plot import curves
from sculpt4d.attention.reference import token_mask

CPU = torch.device("cpu")
SMALL = "--frames 4 --tokens 64 --block 4 --heads 2 --width 16 --dtype fp32 --rounds 1"
PATTERNS = [
    StridedPattern((1, 2), block_size=4),
    PackedPattern((1, 2), block_size=4),
    RadialPattern(0.2, block_size=4),
    SameTokenPattern(),
]


@pytest.fixture(autouse=True)
def threads():
    """The benchmark sets their number for its process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def case(pattern, gradients=True, dtype=torch.float32, frames=5, tokens=24, width=16):
    return AttentionCase(pattern, frames, tokens, 2, width, dtype, CPU, gradients)


@pytest.mark.parametrize("options", ["", "--backward", "--dtype bf16", "--pattern framepack", "--pattern radial"])
def test_json_names_the_choice_the_dense_operator_and_a_row_for_every_backend_that_runs(options, capsys):
    benchmark.main(f"{SMALL} {options} --json".split())
    report = json.loads(capsys.readouterr().out)
    assert report["chosen"] in BACKENDS and report["dense"] == "flash_attention" and 0 < report["density"] <= 1
    ran = ["reference"] if "radial" in options else ["reference", "merged"]
    assert [row["backend"] for row in report["rows"]] == ran
    for row in report["rows"]:
        assert row["efficiency"] == pytest.approx(report["density"] / row["ratio"])
        assert row["ratio"] > 0 and row["memory"] >= (4 if "backward" in options else 1)
        assert row["error"] < (1e-2 if "bf16" in options else 2e-6)
    assert report["machine"]["torch"] == torch.__version__ and report["shape"]["backward"] == ("backward" in options)


def test_the_table_shows_every_row(capsys):
    benchmark.main([*SMALL.split(), "--backends", "merged"])
    shown = capsys.readouterr().out
    assert all(
        word in shown for word in ("dense (flash_attention)", "merged", "efficiency", "memory", torch.__version__)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_the_error_of_a_right_backend_is_small_and_that_of_dense_attention_large(pattern, dtype):
    given = inputs(case(pattern, dtype=dtype))
    name = "reference" if isinstance(pattern, RadialPattern) else "merged"
    assert error(BACKENDS[name], case(pattern, dtype=dtype), given) < (2e-6 if dtype == torch.float32 else 1e-2)
    assert error(comparison._unmasked, case(pattern, dtype=dtype), given) > 0.05


def test_the_error_sees_gradients():
    def doubled(q, k, v, pattern, frames):
        out = BACKENDS["reference"](q, k, v, pattern, frames)
        return out.detach() + 2 * (out - out.detach())

    strided = PATTERNS[0]
    assert error(doubled, case(strided, gradients=False), inputs(case(strided))) < 2e-6
    assert error(doubled, case(strided), inputs(case(strided))) > 0.05


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_the_keys_of_a_few_queries_are_rows_of_the_mask(pattern):
    rows = torch.tensor([0, 7, 24, 50, 119])
    assert torch.equal(pattern.visible(rows, 5, 24), token_mask(pattern, 5, 24, CPU)[rows])


def test_memory_counts_what_lives_at_once():
    def three_at_once():
        first = torch.ones(1000)
        second = first + 1
        third = first + second
        del first, second
        return torch.cat([third, third])  # while the other two are gone

    three_at_once()
    assert extra_memory(three_at_once, CPU) == pytest.approx(3 * 4000, abs=100)


@pytest.mark.parametrize("frames, tokens", [(8, 256), (16, 256), (33, 64)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_merged_needs_less_than_twenty_four_tensors_forward_and_backward(frames, tokens, dtype):
    pattern = StridedPattern(block_size=tokens // 32)
    shape = case(pattern, True, dtype, frames, tokens, 64)
    given = inputs(shape)
    once = work(BACKENDS["merged"], shape, given)
    once()
    assert extra_memory(once, CPU) < 24 * given.q.numel() * given.q.element_size()


def test_a_picture_shows_dense_the_choice_and_the_limit(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "PLOTTED", (1, 2))
    benchmark.main([*SMALL.split(), "--plot", str(tmp_path / "time.png"), "--json"])
    reports = dict(zip((1, 2), json.loads(capsys.readouterr().out), strict=True))
    with Image.open(tmp_path / "time.png") as picture:
        assert picture.size[0] > 500 and len(picture.getcolors(10**6)) > 3
    lines = curves(reports)
    assert set(lines) == {"dense", "ours", "limit"}
    assert lines["limit"][1] == (2, reports[2]["density"] * reports[2]["dense_seconds"])


@pytest.mark.parametrize(
    "options, hint",
    [
        ("--pattern striped", "there is no pattern 'striped': pass --pattern aggressive, blockmask_decay"),
        ("--backends fast", "there is no attention backend 'fast': pass --backends reference,merged"),
        ("--backends block_sparse", "blocks of 128 tokens"),
        ("--tokens 65", "65 tokens do not split into blocks of 4"),
        ("--frames 0", "frames, tokens, heads, width, block, rounds, threads are whole numbers from 1 up"),
        ("--rounds 0", "frames, tokens, heads, width, block, rounds, threads are whole numbers from 1 up"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_the_remedy(options, hint, capsys):
    with pytest.raises(SystemExit):
        benchmark.main([*SMALL.split(), *options.split()])
    assert hint in capsys.readouterr().err


def test_backends_that_refuse_are_left_out_with_their_reason(capsys):
    comparison._announce.cache_clear()
    backends.choose.cache_clear()
    benchmark.main(SMALL.split())
    assert "without block_sparse: backend block_sparse runs masks over blocks of 128" in capsys.readouterr().err
