"""Reproduction of a paper's tables: published numbers, the plan of runs, checks of the strategies, tables and page."""
