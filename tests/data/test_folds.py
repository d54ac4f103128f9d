"""Folds keep groups whole, repeat with their seed, and refuse leaks."""

import numpy as np
import pytest

from bodyjax.data import folds
from bodyjax.data.folds import Fold
from bodyjax.errors import ConfigError, DataError


def rows(seed, count=120, groups=17):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 3, count), rng.integers(0, groups, count)


@pytest.mark.parametrize("seed", range(3))
def test_folds_by_group_test_every_row_once_and_share_no_group(seed):
    labels, groups = rows(seed)
    made = folds.by_group(labels, groups, 5, seed)
    tested = np.concatenate([fold.test for fold in made])
    assert sorted(tested) == list(range(120))
    for fold in made:
        assert not set(groups[fold.train]) & set(groups[fold.test])
        assert len(fold.train) + len(fold.test) == 120
        assert not fold.leaking
    again = folds.by_group(labels, groups, 5, seed)
    for one, two in zip(made, again, strict=True):
        np.testing.assert_array_equal(one.test, two.test)
    other = folds.by_group(labels, groups, 5, seed + 1)
    assert any(set(a.test) != set(b.test) for a, b in zip(made, other, strict=True))


def test_folds_by_group_are_scikit_learns():
    from sklearn.model_selection import StratifiedGroupKFold

    labels, groups = rows(4)
    splits = StratifiedGroupKFold(5, shuffle=True, random_state=2).split(labels, labels, groups)
    for fold, (train, test) in zip(folds.by_group(labels, groups, 5, 2), splits, strict=True):
        np.testing.assert_array_equal(fold.train, train)
        np.testing.assert_array_equal(fold.test, test)


def test_leave_one_group_out():
    _, groups = rows(5)
    made = folds.leave_one_group_out(groups)
    assert [fold.name for fold in made] == [str(group) for group in range(17)]
    for fold in made:
        assert set(groups[fold.test]) == {int(fold.name)}
        assert int(fold.name) not in groups[fold.train]
    with pytest.raises(DataError, match="two groups"):
        folds.leave_one_group_out(np.zeros(5))


def test_a_split_that_shares_a_group_is_refused():
    _, groups = rows(6)
    leak = Fold("mine", np.arange(100), np.arange(100, 120))
    with pytest.raises(DataError, match=r"fold mine share \d+ groups .*random_folds"):
        folds.check(leak, groups)
    with pytest.raises(DataError, match="no test rows"):
        folds.check(Fold("mine", np.arange(3), np.arange(0)), groups)


def test_random_folds_must_be_asked_for_and_say_that_they_leak():
    labels, _ = rows(7)
    clips = np.repeat(np.arange(40), 3)
    labels = labels[clips]
    with pytest.raises(ConfigError, match="random_folds"):
        folds.random(labels, clips, 5, 0, leaking=False)
    made = folds.random(labels, clips, 5, 0, leaking=True)
    assert all(fold.leaking for fold in made)
    for fold in made:  # windows of one clip stay together even here
        assert not set(clips[fold.train]) & set(clips[fold.test])
    assert sorted(np.concatenate([fold.test for fold in made])) == list(range(120))


def test_official_split_is_taken_as_given():
    split = np.array([1, 2, 0, 1, 2])
    fold = folds.official(split, "one")
    assert fold.train.tolist() == [0, 3]
    assert fold.test.tolist() == [1, 4]
    with pytest.raises(DataError, match="0 test rows"):
        folds.official(np.ones(4))


def test_validation_stays_inside_the_training_side():
    labels, groups = rows(8)
    outer = folds.by_group(labels, groups, 4, 0)[1]
    inner = folds.validation(outer, labels, groups, 3, 0)
    assert sorted(np.concatenate([fold.test for fold in inner])) == sorted(outer.train)
    for fold in inner:
        assert not set(outer.test) & {*fold.train, *fold.test}
        assert not set(groups[fold.train]) & set(groups[fold.test])


def test_too_few_groups_are_said():
    with pytest.raises(DataError, match="2 groups can't make 5"):
        folds.by_group(np.arange(10) % 2, np.arange(10) // 5, 5, 0)
