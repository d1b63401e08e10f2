"""The manual, made from the program: man pages, completions, and the reference of ``docs/``.

What can be read off the program is read off it: commands and options from click, mount options and
profile keys from the tables that parse them. What cannot (what an errno means to a reader, files,
signals, examples) is in `facts`, and ``tests/project/test_manual.py`` fails when the program knows
one that `facts` does not.

::

    commands    click's objects          ─┐                    ┌─ roff      man pages
    facts       texts for the rest       ─┼─ pages, reference ─┤
    blocks      what a page consists of  ─┘                    └─ markdown  docs/reference

``python -m backlotfs.manual DIR`` writes all of it; ``make install`` and ``make docs`` call that,
so no generated file is kept that could be out of date.
"""
