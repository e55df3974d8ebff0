"""Every public format to Groups, and the data doctor. No torch."""

from accord.data.problems import Problem
from accord.data.read import Dataset, FormatFound, read

__all__ = ["Dataset", "FormatFound", "Problem", "read"]
