"""What the page "Results" says of each table of ``paper_tables.py``, and the figures that the papers report."""

from _datasets import LARGE

COMMAND = "python benchmarks/paper_tables.py --table {} --data-dir DIR"
TITLES = {
    "mnist": "MNIST, all 70,000, default settings",
    "fashion-mnist": "Fashion-MNIST, all 70,000, default settings",
    "2mnist": "2MNIST: both together, 140,000 images, K = 20, default settings",
    "unequal-mnist": "9,298 digits of 16x16 pixels, classes of 8 to 17 %, default settings",
    "mnist-10k": "MNIST, the first 10,000, default settings",
    "fashion-mnist-10k": "Fashion-MNIST, the first 10,000, default settings",
    "mnist-10k-paper": "MNIST, the first 10,000, the papers' settings, each fit ended at 20 minutes",
    "fashion-mnist-10k-paper": "Fashion-MNIST, the first 10,000, the papers' settings, each fit ended at 20 minutes",
    "mnist-paper": "MNIST, all 70,000, the papers' settings, each fit ended at 90 minutes",
    "imbalance": "Imbalance: class 0 of MNIST kept with probability r, class 9 with 1 (DCSS, Figure 7)",
    "n-samples": "Number of samples (DAC, Figure 7)",
    "n-clusters": "Number of clusters too small and too large (DCSS, Figure 12)",
    "growing-k": "Number of classes (DAC, Figure 6), the first classes of 2MNIST",
    "dccm-thresholds": "Threshold of DCCM's pseudo-labels (DCCM, Figure 6b)",
    "dcss-thresholds": "Thresholds of DCSS's pairs (DCSS, Figure 11b)",
    "dcss-parameters": "Parameters of DCSS (Figure 10)",
    "departures": "Where the defaults depart from the papers, one at a time",
    "pair-sampling": "Pair sampling of DCCM, V1 to V4 (supplement, Table 3)",
    "one-network": "DAC and DCCM with one network (DCCM, Table 5)",
    "metric": "Vectors of 64 and 784 pixels as they are, and by direction (metric)",
    "photographs": "Photographs from their pixels: the 10,000 test images of CIFAR-10",
    "by-epoch": "By epoch (DCCM, Figure 5; DAC, Figure 4; DCSS, Figure 3)",
    "other-clusterers": "Other clusterers on DAC's label features (DAC, Table 3)",
    "transfer": "Accuracy of a classifier on frozen features (DCCM, Figure 4)",
    "criteria": "Criteria without labels: which restart to keep, of every three",
    "choose-n-clusters": "Criteria without labels: how many clusters; there are ten classes",
    "warnings": "Short fits from fifty seeds: which of them warned",
    **{name: f"{name}, default settings" for name in LARGE},
}
# What several tables say.
PAPERS = "The papers' figures are as they report them; some chose an epoch by the true labels."
PRETRAINING = (
    "AE + k-means is our autoencoder trained on reconstruction alone, for as many epochs; pretraining + k-means has "
    "the contrastive loss as well, which DCSS_agg, DCSSu and DCSS begin with by default."
)
NOTES = {
    "mnist": PAPERS,
    "fashion-mnist": f"{PAPERS} {PRETRAINING} DAC's figures on Fashion-MNIST are those that the paper on DCSS reports.",
    "2mnist": f"{PAPERS} {PRETRAINING} k-means alone is .18 better here than in the paper on DCSS, on what should be "
    "the same images, so the two columns may not be of the same task.",
    "mnist-10k": f"{PAPERS} They are of all 70,000 images. {PRETRAINING}",
    "fashion-mnist-10k": f"{PAPERS} They are of all 70,000 images. {PRETRAINING}",
    **dict.fromkeys(
        ("mnist-10k-paper", "fashion-mnist-10k-paper"),
        "The papers' figures are of all 70,000 images and fits to the end. In 20 minutes one thread comes to a fifth "
        "or a quarter of the 46 epochs of DAC and 200 of DCCM M1 to M3, and to 3 of DCCM, whose mutual information "
        "takes every position. DCSS_agg, DCSSu and DCSS begin with the pretraining of AE + k-means, 200 epochs that do "
        "not end in that time, and would be that row.",
    ),
    "mnist-paper": "The papers' figures are of fits to the end. In 90 minutes one thread comes to 6 of the 46 epochs "
    "of DAC, and to 114 of the 200 of DCSS's pretraining, on which its clusters are those of k-means.",
    "dcss-parameters": "On the digits none of them changes ACC by more than .003. Those of phase 1, all but "
    "``membership_epochs``, hardly matter because it moves the network so little from its start.",
    "one-network": "DCSS is not among them: it needs a decoder, which the network of DAC's paper has none of.",
    "metric": "The default is by direction from 64 features on; embeddings of a network are in the table of frozen "
    "features.",
    "departures": "Every row has one setting changed. The second table takes rows as settings to choose among: how "
    "well each criterion ranks them, and how much ACC its pick loses against the best. Rows with other transforms are "
    "left out of it, since how many samples survive one depends on what it does.",
    "criteria": "Regret is ACC lost against the best of three restarts, mean over every three of six, and of ten "
    "without the warm-up, where restarts differ more (DCSS: without contrastive pretraining). The rule of ``n_init`` "
    "takes restarts without empty clusters first, then agreement under augmentation: of the criteria the one whose "
    "regret without the warm-up was least on the digits and MNIST. By then the default start had been run on three of "
    "the other data sets and its figures were known; what was not is averaged in the last line. Colour digits were "
    "run before with other transforms. The second table counts the fits of the study that warned.",
    "choose-n-clusters": "Each figure is the mean of two seeds; stability is the adjusted Rand index of the two. On "
    "the digits and on MNIST, whose classes are well apart, the silhouette is largest at ten clusters for all three "
    "methods, but for DCSS on the digits, where it is at twelve. On Fashion-MNIST, whose classes overlap, it is nearly "
    "the same for 8, 10 and 12. Size entropy is largest at ten everywhere, because all classes here are of nearly one "
    "size, and DCCM's training loss is best there; those of DAC and DCSS favour many clusters, agreement of neighbours "
    "few.",
    "warnings": "Of each method fifty fits of each length on each data set, ten from each of seeds 100, 200, ... 500 "
    "on. No fit fell .15 below its median, so these tell nothing about missed alarms, only that there were no false "
    "ones; the fits of the criteria above, some from random weights, are counted there. The line of "
    "InstabilityWarning was set on other fits; the user guide has their figures.",
    "photographs": "By default the colours of photographs change, and the warm-up leaves out neighbours by their "
    "pixels, of which too few are mutual. Both were chosen by the accuracy on these same photographs, so expect less "
    "of others; ``color()`` is the narrower set of DAC's authors, and ``n_neighbors=5`` what "
    "other images have by default. Frozen features of a pretrained network give far more: see their table.",
    "transfer": "A perceptron with 200 hidden units, on a fifth of the images held out. Of the backbone's maps it gets "
    "the means over positions.",
}
OVERVIEW = {
    "mnist": "MNIST, all 70,000",
    "fashion-mnist": "Fashion-MNIST, all 70,000",
    "2mnist": "both together, 140,000",
    "unequal-mnist": "MNIST at 16x16 pixels, 9,298 of unequal classes",
}
# Data sets on which the criterion of ``n_init`` was settled; others whose default start had been run by then.
SETTLED = ("digits", "mnist-first-2000")
RUN_BEFORE = ("fashion-mnist-first-2000", "mnist-first-4000-r0.1", "fashion-mnist-first-4000-r0.1")
# ACC / NMI in per cent that the papers report, all samples clustered together.
FIGURES = {
    "mnist": {
        "k-means": "53.2/50.0",
        "AE + k-means": "86.0/80.3",
        "DAC*": "96.6/92.5",
        "DAC": "97.75/93.5",
        "DCSS_agg": "87.51/81.35",
        "DCSSu": "96.0/90.0",
        "DCSS": "98.0/94.7",
    },
    "fashion-mnist": {
        "k-means": "47.4/51.2",
        "AE + k-means": "57.9/57.2",
        "DAC": "62.8/58.9",
        "DCSS_agg": "59.61/58.47",
        "DCSSu": "62.9/63.6",
        "DCSS": "66.4/67.1",
    },
    "2mnist": {
        "k-means": "32.3/44.0",
        "AE + k-means": "44.0/62.8",
        "DCSS_agg": "45.21/62.90",
        "DCSSu": "45.3/63.0",
        "DCSS": "48.6/67.8",
    },
    "cifar-10": {"k-means": "22.9/8.7", "DAC": "52.2/39.6", "DCCM": "62.3/49.6"},
    "stl-10": {"k-means": "19.2/12.5", "DAC": "47.0/36.6", "DCCM": "48.2/37.6"},
    "cifar-100-20": {"k-means": "13.0/8.4", "DAC": "23.8/18.5", "DCCM": "32.7/28.5"},
    "imagenet-10": {"k-means": "24.1/11.9", "DAC": "52.7/39.4", "DCCM": "71.0/60.8"},
    "imagenet-dog": {"k-means": "10.5/5.5", "DAC": "27.5/21.9", "DCCM": "38.3/32.1"},
    "tiny-imagenet": {"k-means": "2.5/6.5", "DAC": "6.6/19.0", "DCCM": "10.8/22.4"},
}
