"""The same shards on Apache Beam, where it is installed (extra `beam`)."""

from functools import partial

import pytest

from bodyjax.archive import manifest as manifests
from bodyjax.archive import results
from bodyjax.errors import ConfigError, UserError
from tests.archive import jobs
from tests.archive.conftest import BAD, GOOD

pytest.importorskip("apache_beam", reason="the extra beam is not installed")


def piped(source, out, workers=1, work=None, **given):
    """The archive of a folder by Beam; the counts that were reported."""
    from bodyjax.archive import beam

    told = []
    _, root = jobs.begin(source, out)
    given = {"runner": beam.LOCAL, **given}
    beam.run(out, root, work or partial(jobs.opened, 4), workers, told.append, **given)
    return told


def test_beam_in_memory_gives_what_a_plain_loop_gives(clips, tmp_path):
    jobs.work_through(clips, tmp_path / "plain", 1)
    assert piped(clips, tmp_path / "out") == [(GOOD, BAD, False)]
    assert jobs.digest(tmp_path / "out") == jobs.digest(tmp_path / "plain")
    assert piped(clips, tmp_path / "out") == [(0, 0, False)]  # finished shards are not done again


def test_workers_of_beam_open_ports_so_they_are_refused(clips, tmp_path):
    with pytest.raises(ConfigError, match="open ports on all interfaces") as caught:
        piped(clips, tmp_path / "out", workers=2)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="DirectRunner: downloads a program"):
        piped(clips, tmp_path / "out", runner="DirectRunner")
    assert list((tmp_path / "out" / "results").iterdir()) == []


def test_two_workers_of_beam_give_the_same(clips, tmp_path):
    jobs.work_through(clips, tmp_path / "plain", 1)
    piped(clips, tmp_path / "out", workers=2, allow_ports=True)
    assert jobs.digest(tmp_path / "out") == jobs.digest(tmp_path / "plain")


def test_what_earlier_workers_had_in_hand_is_to_blame(more, tmp_path):
    from bodyjax.archive import marks

    out, source = tmp_path / "out", more("odd.mp4")
    manifest, _ = jobs.begin(source, out)
    key = next(
        key for key in manifest.shard_keys()
        if any(row.id == "odd.mp4" for row in manifests.shard(out, key))
    )  # fmt: skip
    for _ in range(2):  # as two crashes leave it
        marks.Hand(out, key).take("odd.mp4")
        if not marks.crashes(out, key):
            marks.blame(out, key, "its process ended")
    piped(source, out)
    letters = [one for shard in results.checked(out, manifest) for one in shard.dead]
    told = next(one for one in letters if one["id"] == "odd.mp4")
    assert told["error"] == "Crashed"


def unopened():
    raise UserError("no such checkpoint", file="none")


def test_what_fails_in_a_pipeline_is_one_line(clips, tmp_path):
    with pytest.raises(UserError, match="no such checkpoint") as caught:
        piped(clips, tmp_path / "out", work=unopened)
    assert "\n" not in str(caught.value)
