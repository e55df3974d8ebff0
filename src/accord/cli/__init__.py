"""The command line. Every command is imported when it is used, so that `accord --help` loads no torch."""
