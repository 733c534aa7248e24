"""Benchmarks of nearvoice and its peers; run ``python -m benchmarks --help``. Not in the wheel."""
