"""Augmentations: known transforms of hand-made images, and what every transform owes its caller."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepcluster_sk import DACClustering, DCCMClustering, DCSSClustering
from deepcluster_sk._data import ArraySamples
from deepcluster_sk._scaling import Scaling
from deepcluster_sk.augment import FeatureNoise, ImageAugmentation, resolve_augmentation

STILL = ImageAugmentation(rotation=0.0, shift=0.0, zoom=0.0, intensity=0.0, rescale=1.0)

seeds = st.integers(0, 2**31 - 1)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def rand(seed, *shape):
    return torch.rand(*shape, generator=generator(seed))


@pytest.fixture
def fix_draws(monkeypatch):
    """Make every draw the given share of its range, in [0, 1]: the known transform of a single open range."""

    def fix(share):
        monkeypatch.setattr("torch.rand", lambda *size, generator: torch.full(size, share))

    return fix


# ---- geometry -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [4, 5, 8])
@pytest.mark.parametrize("turns", [-1, 1])
def test_rotation_by_90_degrees_is_numpys(fix_draws, side, turns):
    images = rand(1, 3, 2, side, side)
    fix_draws((turns + 1) / 2)  # the end of the range
    rotated = replace(STILL, rotation=90.0)(images, generator())
    np.testing.assert_allclose(rotated, np.rot90(images.numpy(), k=turns, axes=(2, 3)), atol=1e-5)


@pytest.mark.parametrize("direction", [-1, 1])
def test_shift_by_whole_pixels_is_a_roll_that_repeats_the_border(fix_draws, direction):
    images = rand(2, 2, 1, 8, 12)
    fix_draws((direction + 1) / 2)
    shifted = replace(STILL, shift=0.25)(images, generator()).numpy()  # 2 of 8 rows, 3 of 12 columns
    rows, columns = ((np.arange(n) + direction * n // 4).clip(0, n - 1) for n in (8, 12))
    np.testing.assert_allclose(shifted, images.numpy()[:, :, rows][:, :, :, columns], atol=1e-5)
    rolled = np.roll(images.numpy(), (-2 * direction, -3 * direction), axis=(2, 3))
    inside = (slice(0, 6), slice(0, 9)) if direction == 1 else (slice(2, 8), slice(3, 12))
    np.testing.assert_allclose(shifted[(..., *inside)], rolled[(..., *inside)], atol=1e-5)


def test_flip_mirrors_left_and_right(fix_draws):
    images = rand(3, 2, 3, 5, 7)
    fix_draws(0.0)
    flipped = replace(STILL, horizontal_flip=True)(images, generator())
    np.testing.assert_allclose(flipped, images.numpy()[..., ::-1], atol=1e-5)


def test_flip_spares_the_other_half(fix_draws):
    images = rand(3, 2, 3, 5, 7)
    fix_draws(0.5)
    np.testing.assert_allclose(replace(STILL, horizontal_flip=True)(images, generator()), images, atol=1e-5)


def test_flipped_images_are_rotated_first(fix_draws):
    images = rand(3, 2, 3, 6, 6)
    fix_draws(0.0)
    moved = replace(STILL, rotation=90.0, horizontal_flip=True)(images, generator())
    np.testing.assert_allclose(moved, np.rot90(images.numpy(), k=-1, axes=(2, 3))[..., ::-1], atol=1e-5)


def test_zoom_shows_the_middle(fix_draws):
    ramp = torch.arange(8.0).expand(1, 1, 8, 8).contiguous()
    fix_draws(1.0)
    zoomed = replace(STILL, zoom=0.6)(ramp, generator())
    expected = 3.5 + (torch.arange(8.0) - 3.5) / 1.6  # the middle stays, steps are shorter
    np.testing.assert_allclose(zoomed[0, 0], expected.expand(8, 8), atol=1e-5)


def test_shear_slants_columns_in_proportion_to_their_distance_from_the_middle(fix_draws):
    ramp = torch.arange(9.0).expand(1, 1, 9, 9).contiguous()
    fix_draws(1.0)
    slanted = replace(STILL, shear=0.5)(ramp, generator())[0, 0]
    np.testing.assert_allclose(slanted[:, 4], 4 + 0.5 * (torch.arange(9.0) - 4), atol=1e-5)
    np.testing.assert_allclose(slanted[4], ramp[0, 0, 4], atol=1e-5)


def test_about_half_of_the_images_are_flipped():
    images = torch.tensor([0.0, 1.0]).expand(400, 1, 1, 2).contiguous()
    flipped = replace(STILL, horizontal_flip=True)(images, generator())[:, 0, 0, 0] > 0.5
    assert 160 < flipped.sum().item() < 240


# ---- intensities ----------------------------------------------------------------------------------------------------


def test_intensity_moves_all_channels_together_and_channel_shift_each_by_itself():
    images = torch.full((50, 3, 4, 4), 0.5)
    together = replace(STILL, intensity=0.2)(images, generator()) - images
    torch.testing.assert_close(together, together[:, :1, :1, :1].expand_as(together))
    apart = replace(STILL, channel_shift=0.2)(images, generator()) - images
    torch.testing.assert_close(apart, apart[:, :, :1, :1].expand_as(apart))
    assert (apart[:, 0, 0, 0] - apart[:, 1, 0, 0]).abs().min() > 0
    for moved in (together, apart):
        assert moved.abs().max() <= 0.2 + 1e-6
        assert moved.min() < -0.15
        assert moved.max() > 0.15


def test_rescale_is_the_same_for_all():
    images = rand(4, 3, 1, 4, 4)
    torch.testing.assert_close(replace(STILL, rescale=0.5)(images, generator()), images / 2, rtol=0, atol=1e-5)


# ---- colours --------------------------------------------------------------------------------------------------------


def test_brightness_scales_pixels(fix_draws):
    images = rand(5, 3, 1, 4, 4) / 2
    fix_draws(1.0)
    torch.testing.assert_close(replace(STILL, brightness=0.5)(images, generator()), images * 1.5, rtol=0, atol=1e-5)


def test_contrast_scales_distances_to_the_mean_of_the_image(fix_draws):
    images = 0.4 + rand(5, 3, 2, 4, 4) / 5
    fix_draws(0.0)
    changed = replace(STILL, contrast=0.5)(images, generator())
    mean = images.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(changed, mean + (images - mean) / 2, rtol=0, atol=1e-5)


def test_saturation_scales_distances_to_gray(fix_draws):
    images = 0.4 + rand(5, 3, 3, 4, 4) / 5
    fix_draws(1.0)
    changed = replace(STILL, saturation=0.5)(images, generator())
    gray = images.mean(1, keepdim=True)
    torch.testing.assert_close(changed, gray + (images - gray) * 1.5, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("share", "direction"), [(0.0, -1), (1.0, 1)])
def test_a_third_of_a_turn_of_hue_makes_red_green_and_green_blue(fix_draws, share, direction):
    images = rand(5, 3, 3, 4, 4)
    fix_draws(share)
    torch.testing.assert_close(
        replace(STILL, hue=1 / 3)(images, generator()), images.roll(direction, 1), rtol=0, atol=1e-5
    )


def test_a_small_turn_of_hue_keeps_gray_and_the_distance_to_it(fix_draws):
    images = 0.4 + rand(5, 3, 3, 4, 4) / 5
    fix_draws(1.0)
    turned = replace(STILL, hue=0.05)(images, generator())
    gray, turned_gray = images.mean(1, keepdim=True), turned.mean(1, keepdim=True)
    torch.testing.assert_close(turned_gray, gray, rtol=0, atol=1e-5)
    torch.testing.assert_close((turned - gray).norm(dim=1), (images - gray).norm(dim=1), rtol=0, atol=1e-5)
    assert (turned - images).abs().max() > 0.01


def test_so_many_images_lose_their_colours():
    images = rand(5, 1, 3, 2, 2).expand(400, 3, 2, 2).contiguous()
    changed = replace(STILL, grayscale=0.25)(images, generator())
    gray = (changed - images.mean(1, keepdim=True)).abs().amax((1, 2, 3)) < 1e-5
    assert 70 < gray.sum().item() < 130
    torch.testing.assert_close(changed[~gray], images[~gray], rtol=0, atol=1e-5)


def test_changed_colours_stay_within_the_range():
    changed = ImageAugmentation.strong_color()(rand(5, 50, 3, 8, 8), generator())
    assert changed.min() >= 0
    assert changed.max() <= 1


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("parameter", ["saturation", "hue", "grayscale"])
def test_colours_need_three_channels(parameter, channels):
    with pytest.raises(ValueError, match=f"saturation, hue and grayscale need images of 3 channels, got {channels}"):
        replace(STILL, **{parameter: 0.1})(rand(5, 2, channels, 4, 4), generator())


# ---- what every transform owes --------------------------------------------------------------------------------------


@given(seed=seeds, n=st.integers(1, 3), c=st.integers(1, 4), h=st.integers(1, 9), w=st.integers(1, 9))
def test_zero_ranges_are_the_identity(seed, n, c, h, w):
    images = rand(seed, n, c, h, w)
    torch.testing.assert_close(STILL(images, generator(seed)), images, rtol=0, atol=1e-5)


@given(seed=seeds, h=st.integers(2, 9), w=st.integers(2, 9))
def test_constant_images_stay_constant(seed, h, w):
    images = torch.full((4, 1, h, w), 0.7)
    moved = ImageAugmentation(rotation=45, shift=0.3, zoom=0.3, intensity=0, rescale=1)(images, generator(seed))
    torch.testing.assert_close(moved, images, rtol=0, atol=1e-5)


IMAGE_AUGMENTATIONS = [
    ImageAugmentation(),
    ImageAugmentation.strong(),
    ImageAugmentation.strong_gray(),
    ImageAugmentation.color(),
    ImageAugmentation.strong_color(),
]
CASES = [(augmentation, (6, 3, 8, 8)) for augmentation in IMAGE_AUGMENTATIONS]
CASES += [(FeatureNoise(), (6, 10)), (FeatureNoise(noise=0.5, dropout=0.3), (6, 10))]


@pytest.mark.parametrize(("augmentation", "shape"), CASES)
class TestEveryAugmentation:
    def test_each_sample_has_its_own_draw(self, augmentation, shape):
        one = rand(0, 1, *shape[1:])
        moved = augmentation(one.expand(shape).contiguous(), generator())
        differences = (moved[:, None] - moved[None]).flatten(2).abs().amax(2)
        assert (differences[~torch.eye(len(moved), dtype=torch.bool)] > 1e-4).all()

    def test_same_generator_state_same_result(self, augmentation, shape):
        batch = rand(0, *shape)
        assert torch.equal(augmentation(batch, generator(3)), augmentation(batch, generator(3)))
        source = generator(3)
        assert not torch.equal(augmentation(batch, source), augmentation(batch, source))

    def test_global_generator_and_input_are_left_alone(self, augmentation, shape):
        batch = rand(0, *shape)
        before, state = batch.clone(), torch.get_rng_state()
        augmentation(batch, generator())
        assert torch.equal(batch, before)
        assert torch.equal(torch.get_rng_state(), state)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_shape_and_dtype_are_kept(self, augmentation, shape, dtype):
        moved = augmentation(rand(0, *shape).to(dtype), generator())
        assert moved.shape == shape
        assert moved.dtype == dtype
        assert moved.isfinite().all()


def test_shifts_reach_both_ends_of_their_range_along_each_axis_by_itself():
    ramp = torch.arange(33.0).expand(33, 33)
    images = torch.stack([ramp, ramp.T]).expand(500, 2, 33, 33).contiguous()
    moved = replace(STILL, shift=0.25)(images, generator())[:, :, 16, 16] - 16  # (500, 2) pixels, along x and y
    assert moved.abs().max() <= 0.25 * 33 + 1e-4
    assert (moved.amin(0) < -0.23 * 33).all()
    assert (moved.amax(0) > 0.23 * 33).all()
    assert torch.corrcoef(moved.T)[0, 1].abs() < 0.15


def test_feature_noise_has_the_stated_spread_and_share_of_hidden_features():
    features = torch.ones(200, 50)
    noise = FeatureNoise(noise=0.3)(features, generator()) - 1
    assert noise.std().item() == pytest.approx(0.3, rel=0.03)
    assert noise.mean().item() == pytest.approx(0.0, abs=0.01)
    hidden = FeatureNoise(noise=0.0, dropout=0.25)(features, generator())
    assert set(hidden.unique().tolist()) == {0.0, 1.0}
    assert (hidden == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)


def test_ranges_for_digits_and_colour_are_those_of_dacs_authors():
    digits = {"rotation": 10.0, "shift": 0.1, "zoom": 0.05, "intensity": 0.05, "channel_shift": 0.0, "rescale": 0.975}
    color = {"rotation": 20.0, "shift": 0.18, "zoom": 0.15, "intensity": 0.0, "channel_shift": 0.1, "rescale": 0.95}
    assert ImageAugmentation() == ImageAugmentation(**digits, shear=0.0, horizontal_flip=False)
    assert ImageAugmentation.color() == ImageAugmentation(**color, shear=0.0, horizontal_flip=True)


def test_strong_gray_changes_light_alone_beside_strong():
    geometry = {"rotation": 15.0, "shift": 0.12, "zoom": 0.15, "shear": 0.25, "intensity": 0.05}
    assert ImageAugmentation.strong() == replace(STILL, **geometry)
    assert ImageAugmentation.strong_gray() == replace(STILL, **geometry, brightness=0.4, contrast=0.4)


def test_strong_colours_are_those_of_contrastive_learning_on_photographs():
    geometry = {"rotation": 20.0, "shift": 0.18, "zoom": 0.15, "horizontal_flip": True}
    colors = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1, "grayscale": 0.2}
    assert ImageAugmentation.strong_color() == replace(STILL, **geometry, **colors)


# ---- the estimators' parameter --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sample_shape", "expected"),
    [
        ((10,), FeatureNoise()),
        ((1, 8, 8), ImageAugmentation.strong_gray()),
        ((4, 8, 8), ImageAugmentation.strong_gray()),
        ((3, 8, 8), ImageAugmentation.strong_color()),
    ],
)
def test_auto_follows_the_samples(sample_shape, expected):
    assert resolve_augmentation("auto", sample_shape) == expected


@pytest.mark.parametrize(
    ("Estimator", "expected"),
    [
        (DACClustering, ImageAugmentation.strong()),
        (DCCMClustering, ImageAugmentation.strong()),
        (DCSSClustering, ImageAugmentation.strong_gray()),
    ],
)
def test_dcss_alone_changes_the_light_of_gray_images(Estimator, expected):
    images = np.random.default_rng(0).random((4, 8, 8), dtype=np.float32)[:, None]
    samples = ArraySamples(images, Scaling.of(images))
    assert Estimator()._checked_augmentation(samples, torch.device("cpu")) == expected


def test_none_is_the_identity():
    batch = rand(0, 2, 3)
    assert resolve_augmentation(None, (3,))(batch, generator()) is batch


def test_callable_of_two_arguments_gets_the_generator():
    def jitter(batch, generator):
        return batch + torch.rand(batch.shape, generator=generator)

    batch = rand(0, 2, 3)
    resolved = resolve_augmentation(jitter, (3,))
    assert resolved is jitter
    torch.testing.assert_close(resolved(batch, generator(5)), batch + rand(5, 2, 3))


def keyword_alone(batch, *, generator=None):
    return batch + torch.rand(batch.shape, generator=generator)


def behind_another(batch, noise=1.0, generator=None):
    return batch + noise * torch.rand(batch.shape, generator=generator)


@pytest.mark.parametrize("augment", [keyword_alone, behind_another])
def test_a_parameter_called_generator_gets_it_wherever_it_is(augment):
    resolved = resolve_augmentation(augment, (3,))
    expected = torch.rand(2, 3, generator=generator())
    torch.testing.assert_close(resolved(torch.zeros(2, 3), generator()), expected, rtol=0, atol=0)


@pytest.mark.parametrize("Estimator", [DACClustering, DCCMClustering, DCSSClustering])
def test_a_transform_may_work_in_place(Estimator):
    def pure(batch, generator):
        return batch + 0.3 * torch.rand(batch.shape, generator=generator)

    def in_place(batch, generator):
        return batch.copy_(pure(batch, generator))

    X = np.random.default_rng(0).random((60, 8))
    one, other = (Estimator(3, augment=augment, max_epochs=2, random_state=0).fit(X) for augment in (pure, in_place))
    assert [epoch["loss"] for epoch in other.history_] == [epoch["loss"] for epoch in one.history_]


def test_callable_of_one_argument_gets_the_batch_alone():
    batch = rand(0, 2, 3)
    doubled = resolve_augmentation(lambda batch: batch * 2, (3,))
    assert torch.equal(doubled(batch, generator()), batch * 2)


@pytest.mark.parametrize("bad", ["flip", "", 3, 0.5, True, [1], {"rotation": 3}])
def test_anything_else_raises(bad):
    with pytest.raises(TypeError, match=r"augment=.* must be 'auto', None, or a callable"):
        resolve_augmentation(bad, (1, 8, 8))


@pytest.mark.parametrize(
    ("channels", "expected"), [("equal", ImageAugmentation.strong()), ("own", ImageAugmentation.strong_color())]
)
def test_gray_images_of_three_equal_channels_are_gray(channels, expected):
    images = np.random.default_rng(0).random((4, 3, 8, 8), dtype=np.float32)
    if channels == "equal":
        images = images[:, :1].repeat(3, axis=1)
    samples = ArraySamples(images, Scaling.of(images))
    assert DACClustering()._checked_augmentation(samples, torch.device("cpu")) == expected


@pytest.mark.parametrize(
    ("Transform", "parameter", "value", "error", "needed"),
    [
        (ImageAugmentation, "rotation", -10, ValueError, r"a number in \[0, 180\]"),
        (ImageAugmentation, "shift", 12, ValueError, r"a number in \[0, 1\]"),
        (ImageAugmentation, "zoom", 1.0, ValueError, r"a number in \[0, 1\)"),
        (ImageAugmentation, "shear", np.inf, ValueError, r"a number in \[0, inf\)"),
        (ImageAugmentation, "intensity", 255, ValueError, r"a number in \[0, 1\]"),
        (ImageAugmentation, "channel_shift", np.nan, ValueError, r"a number in \[0, 1\]"),
        (ImageAugmentation, "rescale", 0, ValueError, r"a number in \(0, inf\)"),
        (ImageAugmentation, "horizontal_flip", 1, ValueError, "one of False, True"),
        (ImageAugmentation, "brightness", "0.4", TypeError, "a number, got str"),
        (ImageAugmentation, "contrast", None, TypeError, "a number, got NoneType"),
        (ImageAugmentation, "saturation", (0.6, 1.4), TypeError, "a number, got tuple"),
        (ImageAugmentation, "hue", 0.6, ValueError, r"a number in \[0, 0.5\]"),
        (ImageAugmentation, "grayscale", 20, ValueError, r"a number in \[0, 1\]"),
        (FeatureNoise, "noise", -0.1, ValueError, r"a number in \[0, inf\)"),
        (FeatureNoise, "dropout", 1.0, ValueError, r"a number in \[0, 1\)"),
    ],
)
def test_ranges_that_make_no_sense_are_refused_at_once(Transform, parameter, value, error, needed):
    with pytest.raises(error, match=f"{parameter}=.* must be {needed}"):
        Transform(**{parameter: value})
