"""Person scores: the fit against scikit-learn, and what scores promise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from bodyjax.detect import canvas, person_score
from bodyjax.detect.centers import Bodies
from bodyjax.detect.second_look import Look
from bodyjax.errors import ConfigError

WEIGHTS = (0.4, 1.1, 3.0, 0.7, -0.2)
WEIGHTS_SECOND = (0.1, 0.9, 2.0, -4.0, 0.5)


def people(rng, count=400, pictures=90):
    """Evidence (N, 5), right (N,) drawn by known weights, pictures of 1 to many people."""
    evidence = rng.normal((0, -1, 0.5, 0.8, -1.5), (0, 0.8, 0.2, 0.15, 0.6), (count, 5))
    evidence[:, 0] = 1
    true = np.array([-0.5, 1.5, 3.0, 1.0, 0.3])
    chance = 1 / (1 + np.exp(-evidence @ true))
    right = (rng.random(count) < chance).astype(float)
    return evidence, right, np.sort((pictures * rng.random(count) ** 2).astype(int)), chance


def weights_of(groups):
    """1 / sqrt of the people in a person's picture, 1 in the mean."""
    weight = np.array([1 / np.sqrt((groups == group).sum()) for group in groups])
    return weight / weight.mean()


def test_fit_is_the_weighted_regression_of_scikit_learn():
    evidence, right, groups, _ = people(np.random.default_rng(0))
    middle, spread = evidence[:, 1:].mean(0), evidence[:, 1:].std(0)
    model = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000)
    model.fit((evidence[:, 1:] - middle) / spread, right, sample_weight=weights_of(groups))
    slope = model.coef_[0] / spread
    expected = [model.intercept_[0] - slope @ middle, *slope]
    np.testing.assert_allclose(person_score.fit(evidence, right, groups), expected, atol=2e-4)


def test_fit_of_shares_has_no_gradient_left():
    """Right may be a share, which scikit-learn doesn't take: the derivative of the loss is 0."""
    rng = np.random.default_rng(1)
    evidence, _, groups, chance = people(rng)
    right = np.round(10 * np.clip(chance + rng.normal(0, 0.1, len(chance)), 0, 1)) / 10
    weight, spread = weights_of(groups), evidence[:, 1:].std(0)

    def loss(beta):
        score = evidence @ beta
        entropy = np.logaddexp(0, score) - right * score
        return (weight * entropy).sum() + 0.5 * np.square(beta[1:] * spread).sum()

    beta = np.array(person_score.fit(evidence, right, groups))
    step = 1e-4
    for j in range(5):
        move = step * np.eye(5)[j]
        assert abs(loss(beta + move) - loss(beta - move)) / (2 * step) < 0.02
        assert loss(beta + 100 * move) > loss(beta)
        assert loss(beta - 100 * move) > loss(beta)


def test_fitted_scores_are_probabilities():
    rng = np.random.default_rng(2)
    evidence, right, groups, _ = people(rng, 4000, 2000)
    weights = person_score.fit(evidence, right, groups)
    fresh, _, _, chance = people(rng, 20_000)
    score = np.asarray(
        person_score.probability(jnp.asarray(fresh, jnp.float32), weights, person_score.FIRST)
    )
    for low in np.arange(0, 1, 0.1):
        here = (score >= low) & (score < low + 0.1)
        if here.sum() > 200:
            assert abs(score[here].mean() - chance[here].mean()) < 0.04, low


def test_fit_bears_columns_that_say_nothing_and_one_sided_answers():
    evidence, right, groups, _ = people(np.random.default_rng(3))
    evidence[:, 3] = 0.5
    assert person_score.fit(evidence, right, groups)[3] == 0
    for answer in (0.0, 1.0):
        weights = person_score.fit(evidence, np.full(len(right), answer), groups)
        assert np.isfinite(weights).all()
        score = person_score.probability(
            jnp.asarray(evidence, jnp.float32), weights, person_score.FIRST
        )
        assert abs(np.asarray(score) - answer).max() < 0.01


@pytest.mark.parametrize("count", [1, 4, 6])
def test_a_wrong_number_of_weights_is_told_in_one_line(count):
    with pytest.raises(ConfigError, match=f"{count} weights for 5 evidences") as caught:
        person_score.probability(jnp.ones((3, 5)), (0.5,) * count, person_score.FIRST)
    assert "\n" not in str(caught.value)
    for field in ("ranking", "ranking_second"):
        with pytest.raises(ConfigError, match=f"detect.{field}: {count} weights for 5"):
            canvas.merged({field: [0.5] * count})


def bodies(rng, slots=12, there=9):
    """Random people in the first slots, empty ones behind, zeros as centers.group leaves them."""
    shown = np.arange(slots) < there
    center = rng.random(slots) * (rng.random(slots) > 0.3)
    return Bodies(
        *(jnp.asarray(part, jnp.float32) for part in (
            rng.uniform(0, 200, (slots, 17, 2)) * shown[:, None, None],
            rng.random((slots, 17)) * shown[:, None],
        )),
        jnp.asarray((rng.random((slots, 17)) > 0.4) & shown[:, None]),
        jnp.asarray(center * shown, jnp.float32),
        jnp.asarray(shown),
        jnp.int32(0),
    )  # fmt: skip


def look(rng, slots=12):
    return Look(
        jnp.zeros((slots, 17, 2)),
        jnp.zeros((slots, 17)),
        jnp.asarray(rng.random(slots) > 0.3),
        jnp.asarray(rng.random(slots), jnp.float32),
        jnp.asarray(rng.exponential(0.2, slots), jnp.float32),
    )


@pytest.mark.parametrize("weights", [(), WEIGHTS])
def test_first_scores_are_from_0_to_1_and_0_in_empty_slots(weights):
    some = bodies(np.random.default_rng(4))
    evidence = person_score.first_evidence(some, 256)
    assert evidence.shape == (12, len(person_score.FIRST))
    assert np.isfinite(evidence).all()
    score = np.asarray(person_score.first_score(evidence, some.there, weights))
    assert ((score[:9] > 0) & (score[:9] <= 1)).all()
    assert not score[9:].any()
    nothing = some._replace(score=0 * some.score, center=0 * some.center)
    empty = person_score.first_score(person_score.first_evidence(nothing, 256), some.there, weights)
    assert (np.asarray(empty)[:9] > 0).all()


def test_first_evidence_is_what_its_names_say():
    some = bodies(np.random.default_rng(5))
    table = np.asarray(person_score.first_evidence(some, 256))
    for i in range(9):
        middle = float(some.center[i]) or person_score.LONE
        box = np.asarray(some.xy[i].max(0) - some.xy[i].min(0)).max()
        expected = (
            1,
            np.log(middle),
            float(some.score[i].mean()),
            float(some.found[i].mean()),
            np.log(box / 256),
        )
        np.testing.assert_allclose(table[i], expected, atol=1e-5)


@pytest.mark.parametrize("weights", [(), WEIGHTS_SECOND])
def test_second_scores_are_from_0_to_1_and_0_in_empty_slots(weights):
    rng = np.random.default_rng(6)
    first = jnp.asarray(np.where(np.arange(12) < 9, rng.random(12), 0.0), jnp.float32)
    first = first.at[0].set(1.0)
    evidence = person_score.second_evidence(first, look(rng))
    assert evidence.shape == (12, len(person_score.SECOND))
    assert np.isfinite(evidence).all()
    score = np.asarray(person_score.second_score(evidence, first > 0, weights))
    assert ((score[:9] > 0) & (score[:9] <= 1)).all()
    assert not score[9:].any()


def test_scores_grow_with_what_speaks_for_a_person():
    some = bodies(np.random.default_rng(7))
    there = some.there
    for weights in ((), WEIGHTS):
        base = person_score.first_score(person_score.first_evidence(some, 256), there, weights)
        for better in (
            some._replace(score=0.5 + 0.5 * some.score),
            some._replace(center=jnp.maximum(some.center, 0.2) * 1.2),
        ):
            score = person_score.first_score(
                person_score.first_evidence(better, 256), there, weights
            )
            assert (np.asarray(score - base)[:9] > 0).all()
    seen = look(np.random.default_rng(8))
    seen = seen._replace(apart=jnp.minimum(seen.apart, 0.4))
    first = jnp.full(12, 0.4)
    for weights in ((), WEIGHTS_SECOND):
        base = person_score.second_score(person_score.second_evidence(first, seen), there, weights)
        for surer, look_ in (
            (first, seen._replace(mean=0.5 + 0.5 * seen.mean)),
            (first, seen._replace(apart=0.5 * seen.apart)),
            (first + 0.1, seen),
        ):
            score = person_score.second_score(
                person_score.second_evidence(surer, look_), there, weights
            )
            assert (np.asarray(score - base)[:9] > 0).all()


def test_scores_are_the_same_under_jit_and_vmap():
    some = bodies(np.random.default_rng(9))

    def score(one):
        return person_score.first_score(person_score.first_evidence(one, 256), one.there, WEIGHTS)

    many = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), some)
    mapped = jax.jit(jax.vmap(score))(many)
    for row in mapped:
        np.testing.assert_allclose(row, score(some), rtol=1e-5)
