"""Every public format to Groups, and the data doctor. No torch."""

from accord.data.doctor import Prepared, check, prepare
from accord.data.problems import Problem
from accord.data.read import Dataset, FormatFound, read
from accord.data.report import DataReport

__all__ = ["DataReport", "Dataset", "FormatFound", "Prepared", "Problem", "check", "prepare", "read"]
