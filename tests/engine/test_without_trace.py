"""What a training that fails at its start leaves in its folder."""

import pytest

from bodyjax.engine.without_trace import without_trace
from bodyjax.errors import UserError


def fail_after(run, made):
    with without_trace(run):
        for name in made:
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            (run / name).write_text("something")
        raise UserError("no further")


@pytest.mark.parametrize(
    ("made", "stays"),
    [
        (["events/e", "newest/3/SHA256SUMS"], True),
        (["events/e", "metrics.jsonl"], True),
        (["events/e", "frozen/0/SHA256SUMS"], False),
        (["events/e", "newest/3.tmp/x"], False),
    ],
)
def test_a_run_that_fails_stays_if_it_has_a_step(tmp_path, made, stays):
    run = tmp_path / "new" / "run"
    with pytest.raises(UserError, match="no further"):
        fail_after(run, made)
    assert [(run / name).exists() for name in made] == [stays, stays]
    assert run.parent.exists() == stays


def test_what_another_training_makes_meanwhile_stays(tmp_path):
    run, made = tmp_path / "run", ["events/e", "newest/3.tmp/x"]
    with without_trace(run):
        with pytest.raises(UserError, match="no further"):
            fail_after(run, made)
        assert all((run / name).exists() for name in made)


def test_a_run_that_can_not_resume_keeps_what_it_had(tmp_path):
    (tmp_path / "frozen").mkdir()
    with pytest.raises(UserError, match="no further"):
        fail_after(tmp_path, ["frozen/x", "events/e"])
    assert list(tmp_path.rglob("*")) == [tmp_path / "frozen", tmp_path / "frozen/x"]
