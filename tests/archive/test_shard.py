"""A shard from its list to its file, and what is in the archive's folder."""

import errno
import json
import os

import numpy as np
import pytest

from bodyjax.archive import do_shard, marks, results, summary
from bodyjax.archive import manifest as manifests
from bodyjax.errors import ConfigError, DataError
from tests.archive import jobs
from tests.archive.conftest import BAD, GOOD


def done(clips, out, kind="jsonl", batch=4):
    """All shards in this process, in a plain loop."""
    manifest, root = jobs.begin(clips, out, kind, batch)
    work = jobs.opened(batch)
    return manifest, [do_shard(out, k, manifest, root, work) for k in manifest.shard_keys()]


def test_every_clip_has_a_result_or_a_dead_letter(clips, tmp_path):
    manifest, counts = done(clips, tmp_path / "out")
    assert manifest.clips == GOOD + BAD
    assert manifest.shards == 3
    assert sum(one.clips for one in counts) == GOOD
    assert sum(one.dead for one in counts) == BAD
    shards = list(results.checked(tmp_path / "out", manifest))
    rows = [row for shard in shards for row in shard.results]
    assert {row["id"] for row in rows} == {
        f"inner/{i}.mp4" if i % 2 else f"{i}.mp4" for i in range(GOOD)
    }
    assert all(row["result"]["mean"] / 255 == row["sure"] for row in rows)
    again = [do_shard(tmp_path / "out", k, manifest, clips, None) for k in manifest.shard_keys()]
    assert all(one.skipped for one in again)


def test_a_finished_shard_leaves_nothing_behind_in_memory(clips, tmp_path):
    """A million clips have a million indexes."""
    from bodyjax.data.video import index, open_video

    open_video(clips / "0.mp4")
    assert index.indexed.cache_info().currsize > 0
    done(clips, tmp_path / "out")
    assert index.indexed.cache_info().currsize == 0


def test_parquet_holds_the_same_rows(clips, tmp_path):
    pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    lines, _ = done(clips, tmp_path / "lines")
    table, _ = done(clips, tmp_path / "table", "parquet")
    digests = [results.digest(tmp_path / "lines", lines), results.digest(tmp_path / "table", table)]
    assert digests[0] == digests[1]
    import pyarrow.parquet

    whole = pyarrow.parquet.read_table(tmp_path / "table" / "results")
    assert whole.column_names == ["id", "label", "sure", "result"]
    assert whole.num_rows == GOOD


def test_parquet_without_pyarrow_is_one_line(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(Exception, match=r"--format parquet: pyarrow is not installed; pip inst"):
        results.check_kind("parquet")


def test_batches_are_full_but_for_the_last_and_in_order(clips, tmp_path):
    out, seen = tmp_path / "out", []
    manifest, root = jobs.begin(clips, out, batch=12)
    work = jobs.opened(5)

    def run(batch, beat):
        seen.append([name for name, _ in batch])
        return work.run(batch, beat)

    do_shard(out, "00000", manifest, root, work._replace(run=run))
    assert [len(names) for names in seen] == [5, 4]
    rows = manifests.shard(out, "00000")
    order = [row.id.rpartition("/")[2] for row in rows]
    read = [name for names in seen for name in names]
    assert read == [name for name in order if name in read]


def test_after_a_crash_nothing_is_read_ahead_and_the_bytes_are_the_same(clips, tmp_path):
    first, _ = done(clips, tmp_path / "first")
    out = tmp_path / "out"
    manifest, root = jobs.begin(clips, out)
    work, alive = jobs.opened(), []

    def read(file, beat):
        alive.append(marks.left(out, key))
        return work.read(file, beat)

    for key in manifest.shard_keys():
        marks.Hand(out, key)
        marks.blame(out, key, "SIGSEGV")
        do_shard(out, key, manifest, root, work._replace(read=read))
    assert all(len(hand) == 1 for hand in alive)
    assert results.digest(out, manifest) == results.digest(tmp_path / "first", first)


def test_blame_falls_on_all_that_were_in_hand_or_on_nobody(tmp_path):
    (tmp_path / "work").mkdir()
    assert marks.left(tmp_path, "0") is None
    hand = marks.Hand(tmp_path, "0")
    for clip in ("a", "b"):
        hand.take(clip)
    hand.drop("a")
    hand.take("c")
    assert marks.blame(tmp_path, "0", "SIGKILL") == {"b": ["SIGKILL"], "c": ["SIGKILL"]}
    marks.Hand(tmp_path, "0")
    assert marks.blame(tmp_path, "0", "SIGBUS")[marks.NOBODY] == ["SIGBUS"]
    for damaged in ("", "[", "3", '{"a": 3}'):
        (tmp_path / "work" / "0.crashes").write_text(damaged)
        assert marks.crashes(tmp_path, "0") == {}
    marks.forget(tmp_path, "0")
    assert list((tmp_path / "work").iterdir()) == []


def test_what_writes_nothing_new_is_refused(clips, tmp_path, more):
    out = tmp_path / "out"
    jobs.begin(clips, out)
    before = (out / manifests.FILE).read_bytes()
    rows = manifests.listed(clips, jobs.VIDEOS).rows
    made_of = jobs.MADE_OF | {"source": manifests.fingerprint(rows)}
    assert manifests.begin(out, rows, made_of, {}, "jsonl", 4) == manifests.read(out)
    for name in made_of:
        with pytest.raises(ConfigError, match=f"was begun with something else .*{name}"):
            manifests.begin(out, rows, {**made_of, name: "x"}, {}, "jsonl", 4)
    with pytest.raises(ConfigError, match="format: jsonl, now parquet"):
        manifests.begin(out, rows, made_of, {}, "parquet", 4)
    assert (out / manifests.FILE).read_bytes() == before
    other = manifests.listed(more("new.mp4"), jobs.VIDEOS).rows
    assert manifests.fingerprint(other) != made_of["source"]
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="holds other files"):
        manifests.begin(tmp_path / "used", rows, made_of, {}, "jsonl", 4)


def test_a_manifest_whose_writing_was_killed_is_written_anew(clips, tmp_path):
    out = tmp_path / "out"
    manifest, _ = jobs.begin(clips, out)
    (out / manifests.FILE).unlink()
    (out / "clips" / "00001.jsonl").unlink()
    assert jobs.begin(clips, out)[0] == manifest
    assert len(manifests.shard(out, "00001")) == 4


def test_a_list_gives_what_its_folder_gives(clips, tmp_path):
    folder = manifests.listed(clips, jobs.VIDEOS)
    names = [row.id for row in folder.rows]
    names.sort()
    (tmp_path / "list.txt").write_text("\n".join([*(str(clips / n) for n in names), "", "no.mp4"]))
    found = manifests.listed(tmp_path / "list.txt", jobs.VIDEOS)
    missing = [row for row in found.rows if row.bytes < 0]
    assert [row.id for row in missing] == ["no.mp4"]
    assert len(found.rows) == len(folder.rows) + 1
    assert folder.passed_over == "1 hidden files (.hidden.mp4), 1 files of other kinds (notes.txt)"
    (tmp_path / "list.txt").write_text("a.mp4\nb.mp4\na.mp4\n")
    with pytest.raises(DataError, match=r"line 3: a\.mp4 stands in line 1 too"):
        manifests.listed(tmp_path / "list.txt", jobs.VIDEOS)
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(DataError, match="no clips"):
        manifests.listed(tmp_path / "list.txt", jobs.VIDEOS)
    with pytest.raises(DataError, match="is a clip"):
        manifests.listed(clips / "0.mp4", jobs.VIDEOS)


def test_results_that_do_not_match_the_manifest_are_told(clips, tmp_path):
    out = tmp_path / "out"
    manifest, _ = done(clips, out)
    file = results.file_of(out, "00001", "jsonl")
    whole = file.read_text().splitlines()
    for lines, what in ((whole[1:], "are not the clips"), ([*whole, "{"], "can't be read")):
        file.write_text("\n".join(lines) + "\n")
        with pytest.raises(DataError, match=what):
            results.totals(out, manifest)


def test_shards_of_a_million_clips_are_few_and_whole_batches(tmp_path):
    rows = [manifests.Row(f"{i}.mp4", 1, 0.0) for i in range(2000)]
    found = manifests.begin(tmp_path / "out", rows, jobs.MADE_OF, {}, "jsonl", 8)
    assert found.shards == 63
    sizes = [len(manifests.shard(tmp_path / "out", k)) for k in found.shard_keys()]
    assert sizes == [32] * 62 + [16]


def test_a_full_disk_is_one_line_and_leaves_no_result(clips, tmp_path, monkeypatch):
    out = tmp_path / "out"
    manifest, root = jobs.begin(clips, out)

    def full(number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(results.os, "fsync", full)
    with pytest.raises(DataError, match=r"can't be written .*No space left"):
        do_shard(out, "00000", manifest, root, jobs.opened())
    assert list((out / "results").iterdir()) == []


def test_names_that_are_not_utf8_go_through(clips, tmp_path):
    source, out = tmp_path / "clips", tmp_path / "out"
    source.mkdir()
    name = b"caf\xe9.mp4"
    (source / name.decode("utf-8", "surrogateescape")).write_bytes((clips / "0.mp4").read_bytes())
    manifest, counts = done(source, out)
    assert counts[0].clips == 1
    assert json.loads((out / "results" / "00000.jsonl").read_text())["id"] == "caf\udce9.mp4"
    assert np.isfinite(results.totals(out, manifest).clips)


def test_what_a_kill_at_the_start_leaves_is_no_other_file(clips, tmp_path):
    out = tmp_path / "out"
    manifest, _ = jobs.begin(clips, out)
    (out / manifests.FILE).rename(out / ".manifest.1-1.tmp.json")
    (out / "clips" / ".00001.1-1.tmp.jsonl").write_text("{")
    assert jobs.begin(clips, out)[0] == manifest


def test_results_without_a_manifest_are_not_taken_for_those_of_this_command(clips, tmp_path):
    out = tmp_path / "out"
    done(clips, out)
    (out / manifests.FILE).unlink()
    with pytest.raises(DataError, match=r"holds other files \((dead|results)/00000.jsonl\)"):
        jobs.begin(clips, out)


def test_a_folder_with_files_of_others_stays_as_it_is(clips, tmp_path):
    for number, name in enumerate((".lock", "clips/0.mp4", "notes.txt")):
        out = tmp_path / str(number)
        (out / "clips").mkdir(parents=True)
        (out / "thesis.txt").touch()
        (out / name).write_text("mine")
        with pytest.raises(DataError, match="holds other files"), manifests.locked(out):
            jobs.begin(clips, out)
        assert (out / name).read_text() == "mine"
        assert len([one for one in out.rglob("*") if one.is_file()]) == 2


def test_lists_of_clips_that_are_not_those_of_the_manifest_are_refused(clips, tmp_path):
    out = tmp_path / "out"
    jobs.begin(clips, out)
    file = out / "clips" / "00001.jsonl"
    for old, new in (('.mp4"', '.mp5"'), ('"bytes": ', '"bytes": 1')):
        whole = file.read_text()
        file.write_text(whole.replace(old, new, 1))
        with pytest.raises(DataError, match="are not the clips it was begun with"):
            jobs.begin(clips, out)
        file.write_text(whole)
    jobs.begin(clips, out)


MANIFEST = '{"format": 1, "made_of": {}, "about": {}, "clips": 1, "kind": "jsonl", %s}'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("manifest.json", "[" * 100_000),
        ("manifest.json", MANIFEST % '"shards": "1"'),
        ("manifest.json", MANIFEST % '"shards": 0'),
        ("clips/00000.jsonl", '{"id": 1, "bytes": 1, "time": 0.0}'),
        ("clips/00000.jsonl", '{"id": "a", "bytes": 1, "time": NaN}'),
        ("clips/00000.jsonl", "[" * 100_000),
        ("results/00000.jsonl", "3"),
        ("results/00000.jsonl", '{"id": "a"}'),
        ("results/00000.jsonl", '{"id": "a", "label": [], "sure": 1, "result": {}}'),
        ("results/00000.jsonl", '{"id": "a", "label": "b", "sure": NaN, "result": {}}'),
        ("results/00000.jsonl", "[" * 100_000),
        ("dead/00000.jsonl", '{"id": "a"}'),
    ],
)  # fmt: skip
def test_damaged_files_of_an_archive_are_one_line(clips, tmp_path, name, content):
    out = tmp_path / "out"
    done(clips, out)
    (out / name).write_text(content + "\n")
    with pytest.raises(DataError, match="can't be read") as caught:
        results.totals(out, manifests.read(out))
    assert str(out / name) in str(caught.value)


def test_parquet_goes_to_a_folder_whose_name_is_not_utf8(clips, tmp_path):
    pytest.importorskip("pyarrow", reason="the extra parquet is not installed")
    out = tmp_path / b"caf\xe9".decode("utf-8", "surrogateescape")
    manifest, _ = done(clips, out, "parquet")
    assert results.totals(out, manifest).clips == GOOD


def test_days_beyond_the_calendar_have_numbers():
    assert summary._date(0) == "1970-01-01"
    assert summary._date(10**15) == "day 1000000000000000"
