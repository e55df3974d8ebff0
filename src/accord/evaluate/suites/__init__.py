"""Suites: tasks by name, each read from a public data set's own files. A suite is one module and one function."""
