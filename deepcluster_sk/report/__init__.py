"""An offline HTML report of a clustering: one file with figures, pictures and words, for a browser without network."""

from deepcluster_sk.report._write import write_report

__all__ = ["write_report"]
