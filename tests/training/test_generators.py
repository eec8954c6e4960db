"""fit_vae and fit_gan: known losses, exact resumption, and models that come back from their directories."""

import json
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffaudit_jax.data import Pool
from diffaudit_jax.models.gan import gan, spectrally_normalised
from diffaudit_jax.models.vae import vae
from diffaudit_jax.training import Recipe, load_run
from diffaudit_jax.training.adversarial import GanRecipe, critic_hinge, generator_hinge, init_gan_state, make_gan_step
from diffaudit_jax.training.generators import fit_gan, fit_vae
from diffaudit_jax.training.run import generator_run
from diffaudit_jax.training.state import Data
from diffaudit_jax.types import InputError, to_signed
from tests.training.runs import SHAPE
from tests.training.runs import members as squares

KEY = jax.random.key(0)
VAE = vae(SHAPE, channels=4, mults=(1,), latent=2, num_classes=2)
GAN = gan(SHAPE, channels=4, levels=1, latent=2, critic_channels=4, halvings=1, flat=1, num_classes=2)
STEPS = {"num_steps": 6, "batch_size": 8, "learning_rate": 1e-2, "warmup_steps": 0}
FITS = {"vae": (fit_vae, VAE, Recipe(**STEPS)), "gan": (fit_gan, GAN, GanRecipe(**STEPS, num_critic=2, flip=True))}
each = pytest.mark.parametrize("name", FITS)


def members():
    pool = squares(8)
    return Pool(pool.x, pool.rows, "squares", labels=np.arange(8) % 2)


def train(name, num_steps=6, **options):
    fit, model, recipe = FITS[name]
    return fit(KEY, model, members(), replace(recipe, num_steps=num_steps), **options)


@pytest.fixture(scope="module")
def unbroken():
    return {name: train(name) for name in FITS}


def same(a, b):
    plain = [state._replace(key=jax.random.key_data(state.key)) for state in (a, b)]
    assert jax.tree.structure(plain[0]) == jax.tree.structure(plain[1])
    jax.tree.map(np.testing.assert_array_equal, *plain)


def test_every_step_of_a_gan_has_draws_of_its_own():
    recipe, pool = FITS["gan"][2], members()
    step, state = make_gan_step(GAN, recipe), init_gan_state(KEY, GAN, recipe)
    data = Data(jnp.asarray(pool.x), jnp.asarray(pool.labels))
    first, again, later = (float(step(state._replace(step=jnp.int32(i)), data)[1].loss) for i in (0, 0, 1))
    assert first == again != later


def test_hinge_losses_at_known_scores():
    real, fake = jnp.array([2.0, 1.0, 0.0, -1.0]), jnp.array([-3.0, -1.0, 0.0, 0.5])
    assert critic_hinge(real, fake) == (0 + 0 + 1 + 2) / 4 + (0 + 0 + 1 + 1.5) / 4
    assert critic_hinge(jnp.zeros(3), jnp.zeros(5)) == 2
    assert generator_hinge(fake) == (3 + 1 + 0 - 0.5) / 4


@each
def test_a_run_that_goes_on_is_the_run_that_was_not_stopped(name, unbroken, tmp_path):
    train(name, 3, out=tmp_path, checkpoint_every=2)
    resumed = train(name, out=tmp_path, checkpoint_every=2)
    same(resumed.state, unbroken[name].state)
    loaded = load_run(tmp_path)
    same(loaded.state, resumed.state)
    assert (loaded.model, loaded.recipe, loaded.process) == (FITS[name][1], FITS[name][2], None)
    assert loaded.ledger is None
    assert loaded.config == json.loads(json.dumps({**loaded.config, **resumed.config}))
    targets = [run.target for run in (loaded, unbroken[name])]
    draw = jax.jit(targets[0].sample)
    first, second = (np.asarray(draw(target.params, KEY, 1)) for target in targets)
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, draw(targets[0].params, jax.random.key(1), 1))
    assert np.abs(first).max() <= 1
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log] == [2, 3, 4, 6]
    with pytest.raises(InputError, match=r"holds another run \(recipe.batch_size: 8 -> 4"):
        FITS[name][0](KEY, FITS[name][1], members(), replace(FITS[name][2], batch_size=4), out=tmp_path)


@each
def test_what_is_audited_is_the_average_of_the_generator(name, unbroken):
    run = unbroken[name]
    assert run.target.params is run.state.ema
    assert run.target.config["network"]["model"]["name"] == name
    last = run.state.params if name == "vae" else run.state.params.generator
    assert jax.tree.structure(run.target.params) == jax.tree.structure(last)
    plain = generator_run(run.state, run.model, replace(run.recipe, ema_decay=0.0), {})
    assert plain.target.params is last


def test_the_bound_of_the_members_improves(unbroken):
    pool = members()
    x, labels = to_signed(jnp.asarray(pool.x)), jnp.asarray(pool.labels)
    keys = jax.random.split(KEY, 400)

    @jax.jit
    def bounds(params):
        terms = jax.vmap(lambda key: jax.vmap(partial(VAE.terms, params, key))(x, labels))(keys)
        return (terms.reconstruction + terms.kl).mean(1)

    fell = np.asarray(bounds(train("vae", 0).state.params) - bounds(unbroken["vae"].state.params), np.float64)
    assert fell.mean() > 4 * fell.std(ddof=1) / np.sqrt(len(keys))


def test_the_critic_learns_to_tell_and_the_generator_to_mislead_it(unbroken):
    pool = members()
    x, labels = to_signed(jnp.asarray(pool.x)), jnp.asarray(pool.labels)
    keys, classes = jax.random.split(jax.random.key(9), 200), jnp.arange(200) % 2

    @jax.jit
    def judged(critic, singular, generator):
        critic = spectrally_normalised(critic, singular)[0]
        fakes = jax.vmap(GAN.sample, (None, 0, 0))(generator, keys, classes)
        judge = jax.vmap(GAN.judge, (None, 0, 0))
        return judge(critic, x, labels), judge(critic, fakes, classes)

    before = init_gan_state(KEY, GAN, FITS["gan"][2]).params
    after = unbroken["gan"].state.params
    assert critic_hinge(*judged(after.critic, after.singular, before.generator)) < critic_hinge(
        *judged(before.critic, before.singular, before.generator)
    )
    gained = (
        judged(after.critic, after.singular, after.generator)[1]
        - (judged(after.critic, after.singular, before.generator)[1])
    )
    gained = np.asarray(gained, np.float64)
    assert gained.mean() > 4 * gained.std(ddof=1) / np.sqrt(len(keys))


def test_a_diverging_run_is_refused():
    fit, model, recipe = FITS["vae"]
    with pytest.raises(InputError, match=r"training diverged: at step 6 the loss is .* lower learning_rate"):
        fit(KEY, model, members(), replace(recipe, learning_rate=1e30))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_vae(KEY, VAE, squares(4)), "needs labels, and these members have none"),
        (lambda: fit_gan(KEY, GAN, squares(0)), "there are no members to train on"),
        (lambda: fit_gan(None, GAN, members()), "training needs a key"),
        (lambda: fit_vae(KEY, vae((8, 8, 1)), members()), "do not fit a model for"),
        (lambda: fit_vae(KEY, VAE, members(), checkpoint_every=0), "checkpoint_every must be at least 1"),
        (lambda: GanRecipe(num_critic=0), "num_critic must be at least 1, got 0"),
        (lambda: GanRecipe(beta1=1.0), "beta1 must be in"),
        (lambda: GanRecipe(batch_size=0), "batch_size must be at least 1"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
