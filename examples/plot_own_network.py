"""
Your own network and augmentation
=================================

Any ``nn.Module`` that maps a batch to features is a network, and any function from batch to batch is an augmentation.
Here DAC clusters digits with a small network of depthwise convolutions and an augmentation that erases a patch.
"""

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn

from deepcluster_sk import DACClustering
from deepcluster_sk.augment import ImageAugmentation
from deepcluster_sk.display import ClusterGridDisplay
from deepcluster_sk.metrics import clustering_accuracy_score

# %%
# The network
# -----------
# It gets batches (n, 1, 8, 8), standardised, and gives features (n, 128); feature maps (n, c, h, w) would be averaged
# over positions. The estimator puts the output layer of ``n_clusters`` units behind. It trains a copy: the module that
# you pass stays as it is, so its initial weights are yours to seed.

torch.manual_seed(0)
backbone = nn.Sequential(
    nn.Conv2d(1, 32, 3, padding=1, bias=False),
    nn.BatchNorm2d(32),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(32, 32, 3, padding=1, groups=32, bias=False),  # depthwise
    nn.Conv2d(32, 64, 1, bias=False),  # pointwise
    nn.BatchNorm2d(64),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(256, 128, bias=False),
    nn.BatchNorm1d(128),
    nn.ReLU(),
)

# %%
# The augmentation
# ----------------
# It gets images in [0, 1] and a generator on the CPU. Draw from that generator alone, anew for every image: then the
# same ``random_state`` gives the same clusters.

move = ImageAugmentation.strong()


def move_and_erase(images, generator):
    """Move each image, then put a black patch of 2x2 pixels at a place of its own."""
    images = move(images, generator)
    n, _, height, width = images.shape
    top = torch.randint(height - 1, (n, 1, 1, 1), generator=generator)
    left = torch.randint(width - 1, (n, 1, 1, 1), generator=generator)
    rows, columns = torch.arange(height).view(1, 1, -1, 1), torch.arange(width).view(1, 1, 1, -1)
    erased = (rows >= top) & (rows < top + 2) & (columns >= left) & (columns < left + 2)
    return images.masked_fill(erased.to(images.device), 0)


# %%
# Both go in as parameters
# ------------------------

digits = load_digits()
images, y = digits.images[:800], digits.target[:800]
dac = DACClustering(n_clusters=10, network=backbone, augment=move_and_erase, random_state=0)
dac.fit(images)
print(f"accuracy {clustering_accuracy_score(y, dac.labels_):.3f}")
ClusterGridDisplay.from_estimator(dac, images, cmap="gray_r")
plt.show()

# %%
# The clusters are those of digits: what DAC learns from does not depend on the network, and the network here has fewer
# than 4,000 weights.
