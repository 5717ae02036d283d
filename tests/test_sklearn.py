"""scikit-learn's own checks, on the estimators with no argument at all."""

import warnings

import pytest
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from deepcluster_sk import DACClustering, DCCMClustering, DCSSClustering

ESTIMATORS = [DACClustering(), DCCMClustering(), DCSSClustering()]
pytestmark = [
    # Some checks cluster random numbers into ten groups, where an empty one is no fault.
    pytest.mark.filterwarnings("ignore::deepcluster_sk.exceptions.CollapseWarning"),
    pytest.mark.no_cover,  # hundreds of small fits, of lines that other tests run too
]


@parametrize_with_checks(ESTIMATORS, xfail_strict=True)
def test_scikit_learn_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: type(estimator).__name__)
@pytest.mark.parametrize(
    "name",
    [
        "check_set_output_transform",
        "check_set_output_transform_pandas",
        "check_set_output_transform_polars",
        "check_global_output_transform_pandas",
        "check_global_set_output_transform_polars",
        "check_dataframe_column_names_consistency",
        "check_transformer_get_feature_names_out",
        "check_transformer_get_feature_names_out_pandas",
        "check_inplace_ensure_writeable",
    ],
)
def test_further_scikit_learn_check(estimator, name):
    check = getattr(estimator_checks, name)
    with warnings.catch_warnings():
        # These checks fit on a frame and transform its array, or the other way round.
        warnings.filterwarnings("ignore", message="X (does not have valid|has) feature names", category=UserWarning)
        warnings.simplefilter("ignore", FutureWarning)
        check(type(estimator).__name__, estimator)
