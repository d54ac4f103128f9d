"""LSTM, attention and the streaming form against torch's numbers and against themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bodyjax.models.sequence import (
    AttentionParams,
    LSTMCarry,
    LSTMParams,
    SequenceClassifier,
    _Projection,
    attention_pool,
    attention_scores,
    lstm_cell,
    masked_lstm,
    mean_pool,
)
from tests.shared import GOLDENS


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDENS / "lstm.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def torch_params(golden, prefix, layer, suffix=""):
    """torch keeps (4H, D) matrices and two biases that are only ever added."""
    end = f"_l{layer}{suffix}"
    return LSTMParams(
        jnp.asarray(golden[f"{prefix}weight_ih{end}"].T),
        jnp.asarray(golden[f"{prefix}weight_hh{end}"].T),
        jnp.asarray(golden[f"{prefix}bias_ih{end}"] + golden[f"{prefix}bias_hh{end}"]),
    )


def run_stack(golden, prefix, x, start=None):
    """All layers and directions; torch's order of states is layer by layer, forward first."""
    lengths = golden[f"{prefix}lengths"]
    mask = jnp.arange(x.shape[1]) < lengths[:, None]
    ways = ("", "_reverse") if "_bi_" in prefix else ("",)
    h, c_n, h_n = x, [], []
    for layer in range(2):
        outs = []
        for way, suffix in enumerate(ways):
            k = layer * len(ways) + way
            carry = None if start is None else LSTMCarry(start[1][k], start[0][k])
            params = torch_params(golden, prefix, layer, suffix)
            out, end = masked_lstm(params, h, mask, carry, reverse=way == 1)
            outs.append(out)
            h_n.append(end.h)
            c_n.append(end.c)
        h = jnp.concatenate(outs, -1)
    return h, jnp.stack(h_n), jnp.stack(c_n)


@pytest.mark.parametrize("prefix", ["c0_uni_", "c0_bi_", "c1_uni_", "c1_bi_"])
@pytest.mark.parametrize("start", ["zero", "init"])
def test_masked_lstm_is_torchs(golden, prefix, start):
    given = (golden[f"{prefix}h0"], golden[f"{prefix}c0"]) if start == "init" else None
    run = jax.jit(lambda x, given: run_stack(golden, prefix, x, given))
    out, h_n, c_n = run(golden[f"{prefix}x"], given)
    np.testing.assert_allclose(out, golden[f"{prefix}{start}_out"], atol=1e-5)
    np.testing.assert_allclose(h_n, golden[f"{prefix}{start}_hn"], atol=1e-5)
    np.testing.assert_allclose(c_n, golden[f"{prefix}{start}_cn"], atol=1e-5)


@pytest.mark.parametrize("prefix", ["c0_uni_", "c1_bi_"])
def test_masked_lstm_gradient_is_torchs(golden, prefix):
    probe = golden[f"{prefix}probe"]
    grad = jax.jit(jax.grad(lambda x: (run_stack(golden, prefix, x)[0] * probe).sum()))(
        golden[f"{prefix}x"]
    )
    np.testing.assert_allclose(grad, golden[f"{prefix}zero_grad_x"], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_are_those_of_a_plain_scan(reverse):
    """By weights, inputs and first state; the loss looks at outputs and the last state, with gaps
    in the mask. The scan's gradient is jax's own: its cell has no rule of ours."""
    rng = np.random.default_rng(4)

    def draw(*shape):
        return jnp.asarray(rng.normal(0, 0.5, shape), jnp.float32)

    x, mask = draw(3, 7, 5), jnp.asarray(rng.random((3, 7)) < 0.7)
    params = LSTMParams(draw(5, 16), draw(4, 16), draw(16))
    first = LSTMCarry(draw(3, 4), draw(3, 4))
    probes = draw(3, 7, 4), draw(3, 4), draw(3, 4)

    def plain(params, x, first):
        def step(carry, inputs):
            return lstm_cell(params, carry, *inputs)

        inputs = (jnp.moveaxis(x, 1, 0), mask.T)
        last, outputs = jax.lax.scan(step, first, inputs, reverse=reverse)
        return jnp.moveaxis(outputs, 0, 1), last

    def ours(params, x, first):
        return masked_lstm(params, x, mask, first, reverse=reverse)

    def gradients(run):
        def functional(*inputs):
            outputs, last = run(*inputs)
            parts = zip(probes, (outputs, last.c, last.h), strict=True)
            return sum((probe * part).sum() for probe, part in parts)

        return jax.jit(jax.value_and_grad(functional, argnums=(0, 1, 2)))(params, x, first)

    (value, got), (same, expected) = gradients(ours), gradients(plain)
    np.testing.assert_allclose(value, same, rtol=1e-5)
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert np.abs(other).max() > 1e-2
        np.testing.assert_allclose(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", ["c0_att_", "c1_att_"])
@pytest.mark.parametrize("kind", ["full", "masked"])
def test_attention_is_equations_9_to_11(golden, case, kind):
    params = AttentionParams(*(jnp.asarray(golden[case + n]) for n in AttentionParams._fields))
    h = jnp.asarray(golden[f"{case}h"])
    steps = np.full(len(h), h.shape[1]) if kind == "full" else golden[f"{case}lengths"]
    mask = jnp.arange(h.shape[1]) < steps[:, None]

    def functional(params, h):
        pooled, alpha = attention_pool(params, h, mask)
        return (pooled * golden[f"{case}probe"]).sum(), (pooled, alpha)

    run = jax.jit(jax.value_and_grad(functional, argnums=(0, 1), has_aux=True))
    (value, (pooled, alpha)), (by_params, by_h) = run(params, h)
    name = f"{case}{kind}_"
    np.testing.assert_allclose(attention_scores(params, h), golden[name + "beta"], atol=1e-5)
    np.testing.assert_allclose(alpha, golden[name + "alpha"], atol=1e-5)
    np.testing.assert_allclose(pooled, golden[name + "pooled"], atol=1e-5)
    np.testing.assert_allclose(value, golden[name + "functional"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(by_h, golden[name + "grad_h"], atol=1e-5, rtol=1e-4)
    for field in AttentionParams._fields:
        np.testing.assert_allclose(
            getattr(by_params, field), golden[f"{name}grad_{field}"], atol=2e-5, rtol=1e-4
        )


def random_batch(seed, batch=3, steps=9, features=7):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(batch, steps, features)).astype(np.float32)
    lengths = rng.integers(1, steps + 1, batch)
    return jnp.asarray(x), jnp.asarray(np.arange(steps) < lengths[:, None])


@pytest.mark.parametrize(
    ("pooling", "bidirectional"), [("mean", False), ("attention", True), ("mean_max", True)]
)
def test_padding_of_any_content_and_length_does_not_matter(pooling, bidirectional):
    x, mask = random_batch(0)
    model = SequenceClassifier(5, 16, 2, bidirectional, pooling, projection=8)
    variables = start(model, x, mask)
    logits, attention = jax.jit(model.apply)(variables, x, mask)
    assert logits.shape == (3, 5)
    assert attention.shape == mask.shape
    np.testing.assert_allclose(attention.sum(-1), 1.0, atol=1e-6)
    assert not np.any(attention[~np.asarray(mask)])
    garbage = jnp.where(mask[..., None], x, jnp.nan)
    longer = jnp.pad(garbage, ((0, 0), (0, 4), (0, 0)), constant_values=1e30)
    again = jax.jit(model.apply)(variables, longer, jnp.pad(mask, ((0, 0), (0, 4))))
    np.testing.assert_allclose(again.logits, logits, atol=1e-6)


def start(model, *inputs, **options):
    """Parameters of the right shapes without compiling an initialisation."""
    rng = np.random.default_rng(11)
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs, **options)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.3, leaf.shape), "float32"), shapes)


@pytest.mark.parametrize("pooling", ["mean", "attention", "mean_max"])
def test_frame_by_frame_is_the_whole_sequence(pooling):
    x, _ = random_batch(1, steps=12)
    rng = np.random.default_rng(2)
    mask = jnp.asarray(rng.random(x.shape[:2]) < 0.7)  # gaps, also at the start
    present = jnp.asarray(rng.random(x.shape) < 0.8)
    condition = jnp.asarray([0, 2, 1])
    model = SequenceClassifier(4, 16, 2, pooling=pooling, projection=8, conditions=3)
    variables = start(model, x, mask, condition=condition)
    whole = jax.jit(model.apply)

    @jax.jit
    def step(carry, x, mask, present):
        return model.apply(
            variables, carry, x, mask, present=present, condition=condition, method="step"
        )

    carry = jax.jit(lambda: model.apply(variables, 3, method="start"))()
    for t in range(x.shape[1]):
        carry, out = step(carry, x[:, t], mask[:, t], present[:, t])
        until = mask & (jnp.arange(x.shape[1]) <= t)
        expected = whole(variables, x, until, present=present, condition=condition)
        np.testing.assert_allclose(out.logits, expected.logits, atol=1e-6)
        np.testing.assert_allclose(out.attention[:, 0], expected.attention[:, t], atol=1e-6)


def test_a_missing_feature_is_not_a_zero():
    x, mask = random_batch(3)
    present = jnp.ones(x.shape, bool).at[..., 2].set(False)
    model = SequenceClassifier(3, 8, 1, projection=4)
    variables = start(model, x, mask)
    variables["params"]["projector"]["missing"] = jnp.arange(7.0)
    apply = jax.jit(model.apply)
    out = apply(variables, x, mask, present=present).logits
    filled = apply(variables, x.at[..., 2].set(2.0), mask).logits
    zeroed = apply(variables, x.at[..., 2].set(0.0), mask).logits
    np.testing.assert_allclose(out, filled, atol=1e-6)
    assert np.abs(out - zeroed).max() > 1e-3
    grads = jax.jit(jax.grad(lambda x: apply(variables, x, mask, present=present).logits.sum()))(x)
    assert not np.any(grads[..., 2])


def test_each_condition_has_its_own_head():
    x, mask = random_batch(4)
    model = SequenceClassifier(2, 8, 1, projection=4, conditions=3)
    variables = start(model, x, mask, condition=jnp.zeros(3, int))
    same = x[:1].repeat(3, 0), mask[:1].repeat(3, 0)
    logits = jax.jit(model.apply)(variables, *same, condition=jnp.arange(3)).logits
    assert np.abs(logits[0] - logits[1]).max() > 1e-4
    with pytest.raises(ValueError, match="condition"):
        model.apply(variables, *same)


def test_nothing_unmasked_gives_finite_values_and_gradients():
    x, mask = random_batch(5)
    mask = mask.at[0].set(False)
    for pooling in ("attention", "mean_max"):
        model = SequenceClassifier(2, 8, 1, pooling=pooling)
        variables = start(model, x, mask)

        def total(variables, x, model=model):
            return model.apply(variables, x, mask).logits.sum()

        grads = jax.jit(jax.grad(total, argnums=(0, 1)))(variables, x)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize("pooling", ["attention", "mean", "mean_max"])
def test_nan_in_the_padding_reaches_no_gradient(pooling):
    x, mask = random_batch(5)
    model = SequenceClassifier(2, 8, 1, pooling=pooling, projection=4)
    variables = start(model, x, mask)

    def total(variables, x):
        return model.apply(variables, x, mask).logits.sum()

    run = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))
    padded = jnp.where(mask[..., None], x, jnp.nan)
    (plain, (wanted, _)), (value, (grads, by_x)) = run(variables, x), run(variables, padded)
    assert float(value) == float(plain)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), grads, wanted)
    assert not np.any(by_x[~np.asarray(mask)])


def test_the_parts_take_nan_in_the_padding_too():
    x, mask = random_batch(6, features=8)
    padded, rng = jnp.where(mask[..., None], x, jnp.nan), np.random.default_rng(0)
    cell = LSTMParams(*(jnp.asarray(rng.normal(size=s)) for s in ((8, 32), (8, 32), (32,))))
    zeros = jnp.zeros((3, 8))
    score = AttentionParams(
        *(jnp.asarray(rng.normal(size=s)) for s in ((8,), (5, 8), (5, 8), (5,), (5,)))
    )

    def one_step(params, x):
        new, out = lstm_cell(params, LSTMCarry(zeros, zeros), x[:, -1], mask[:, -1])
        return new.c.sum() + out.sum()

    parts = {
        "projection": (
            lambda held, x: jnp.where(
                mask[..., None], _Projection(4, 0).apply(held, x, None, None), 0.0
            ).sum(),
            _Projection(4, 0).init(jax.random.key(0), x, None, None),
        ),
        "step": (one_step, cell),
        "attention": (lambda held, x: attention_pool(held, x, mask)[0].sum(), score),
        "mean": (lambda held, x: held * mean_pool(x, mask)[0].sum(), jnp.ones(())),
    }
    for name, (function, held) in parts.items():
        wanted = jax.grad(function, argnums=(0, 1))(held, x)
        found = jax.grad(function, argnums=(0, 1))(held, padded)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5, err_msg=name)


def test_unroll_and_vmap_give_the_same():
    x, mask = random_batch(6)
    plain = SequenceClassifier(3, 8, 2)
    variables = start(plain, x, mask)
    expected = jax.jit(plain.apply)(variables, x, mask).logits
    unrolled = jax.jit(SequenceClassifier(3, 8, 2, unroll=4).apply)(variables, x, mask).logits
    np.testing.assert_allclose(unrolled, expected, atol=1e-6)
    one = jax.jit(jax.vmap(lambda x, m: plain.apply(variables, x[None], m[None]).logits[0]))
    single = one(x, mask)
    np.testing.assert_allclose(single, expected, atol=1e-6)


def test_dropout_needs_a_key_and_changes_the_output():
    x, mask = random_batch(7)
    model = SequenceClassifier(3, 8, 2, dropout=0.5, input_dropout=0.2, projection=4)
    variables = start(model, x, mask)
    noisy = jax.jit(
        lambda key: model.apply(variables, x, mask, deterministic=False, rngs={"dropout": key})
    )
    one, two = noisy(jax.random.key(3)).logits, noisy(jax.random.key(4)).logits
    assert np.abs(one - two).max() > 1e-3
    np.testing.assert_array_equal(one, noisy(jax.random.key(3)).logits)


def test_mean_pool_is_the_mean_of_the_unmasked():
    x, mask = random_batch(8)
    pooled, alpha = mean_pool(x, mask)
    for row, keep, got, weights in zip(x, np.asarray(mask), pooled, alpha, strict=True):
        np.testing.assert_allclose(got, row[keep].mean(0), atol=1e-6)
        np.testing.assert_allclose(weights[keep], 1 / keep.sum(), atol=1e-6)


def test_mistakes_are_said():
    x, mask = random_batch(9)
    with pytest.raises(ValueError, match="pooling"):
        SequenceClassifier(2, pooling="max").init(jax.random.key(0), x, mask)
    model = SequenceClassifier(2, 8, 1, bidirectional=True)
    variables = start(model, x, mask)
    with pytest.raises(ValueError, match="streamed"):
        model.apply(variables, 1, method="start")


def test_first_parameters_are_small_and_forget_gates_open():
    x, mask = random_batch(10)
    model = SequenceClassifier(2, 16, 1, projection=4, conditions=2)
    params = jax.jit(model.init)(jax.random.key(0), x, mask, condition=jnp.zeros(3, int))["params"]
    lstm = params["lstm0_forward"]
    assert np.abs(lstm["recurrent"]).max() <= 16**-0.5
    assert lstm["recurrent"].std() > 0.5 * 16**-0.5
    assert lstm["bias"][16:32].min() >= 0.75 > np.abs(lstm["bias"][:16]).max()
    assert not np.any(params["projector"]["missing"])
