"""Reuse of an answer to a prompt that says the same in other words; off unless asked for.

Two questions decide, both must be answered yes: the guard's, whether the words allow it, and the bound's,
whether verified comparisons have shown that reuse is right often enough. While the tier is off only `port`
and `parts` are imported, which need nothing of the extra.
"""
