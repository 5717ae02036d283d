"""Pictures of a clustering and of how it came about, in the manner of scikit-learn's Displays.

Each has ``from_estimator`` and ``from_predictions``, or what fits what it draws: ``from_history``, ``from_recorder``
(see :class:`~deepcluster_sk.callbacks.StageRecorder`), ``from_cv_results``. ``plot`` draws it again, into axes of yours
if you pass some. Matplotlib is needed only then.
"""

from deepcluster_sk.display._embedding import EmbeddingDisplay
from deepcluster_sk.display._feature_images import LabelFeatureImagesDisplay
from deepcluster_sk.display._graph import GraphPrecisionRecallDisplay, PseudoGraphDisplay
from deepcluster_sk.display._grid import ClusterGridDisplay, FilterDisplay
from deepcluster_sk.display._histogram import ConfidenceHistogramDisplay, ResidualDisplay
from deepcluster_sk.display._history import PairParticipationDisplay, TrainingCurveDisplay
from deepcluster_sk.display._label_features import LabelFeatureDisplay
from deepcluster_sk.display._labels import AlignedConfusionMatrixDisplay, ClusterSizeDisplay
from deepcluster_sk.display._rejection import RejectionDisplay
from deepcluster_sk.display._search import SearchCurveDisplay

__all__ = [
    "AlignedConfusionMatrixDisplay",
    "ClusterGridDisplay",
    "ClusterSizeDisplay",
    "ConfidenceHistogramDisplay",
    "EmbeddingDisplay",
    "FilterDisplay",
    "GraphPrecisionRecallDisplay",
    "LabelFeatureDisplay",
    "LabelFeatureImagesDisplay",
    "PairParticipationDisplay",
    "PseudoGraphDisplay",
    "RejectionDisplay",
    "ResidualDisplay",
    "SearchCurveDisplay",
    "TrainingCurveDisplay",
]
