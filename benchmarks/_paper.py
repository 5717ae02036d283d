"""The papers' settings as parameters of the estimators: the paper where it speaks, else the authors' experiments."""

import numpy as np

from deepcluster_sk import DACClustering, DCCMClustering, DCSSClustering
from deepcluster_sk.augment import ImageAugmentation


def paper_estimator(method: str, seed: int):
    """Estimator by paper settings for one-channel images of 28x28 (DAC, DCSS) or 32x32 pixels (DCCM)."""
    if method == "DAC":
        return DACClustering(
            network="dac-28",
            augment=ImageAugmentation(),
            max_epochs=46,
            batch_size=128,
            lr=1e-3,
            lr_schedule="constant",
            curriculum_rate=0.009,
            passes_per_block=5,
            warmup_epochs=0,
            random_state=seed,
        )
    if method == "DCCM":
        return DCCMClustering(
            network="dccm-32",
            augment=ImageAugmentation(),
            max_epochs=200,
            batch_size=32,
            lr=1e-4,
            lr_schedule="constant",
            mi_positions=None,
            warmup_epochs=0,
            random_state=seed,
        )
    return DCSSClustering(
        network="autoencoder-residual",
        latent_dim=10,
        augment=None,
        pretrain_epochs=200,
        first_phase_epochs=200,
        second_phase_epochs=20,
        batch_size=500,
        lr=1e-3,
        first_phase_lr=1e-6,
        encoder_lr=1e-5,
        fuzzifier=1.5,
        logit_scale=None,
        contrastive_weight=0.0,
        mnet_start_epochs=0,
        membership_epochs=5,
        random_state=seed,
    )


def enlarge(images: np.ndarray, side: int) -> np.ndarray:
    """Images (n, 8, 8) with every pixel repeated and a border of zeros, to the side that the papers' networks take."""
    repeat = side // 8
    border = (side - 8 * repeat) // 2
    enlarged = images.repeat(repeat, axis=1).repeat(repeat, axis=2)
    return np.pad(enlarged, ((0, 0), (border, border), (border, border)))
