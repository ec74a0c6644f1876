"""A paper's tables made again: published numbers, the plan of runs, checks of the strategies, tables and page."""
