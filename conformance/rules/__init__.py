"""The rules: one module per topic. See README.md beside this file, which is generated from the docstrings."""
