# SPDX-License-Identifier: Apache-2.0
"""The manual: man pages, shell completions, and the reference of ``docs/``.

The texts are Markdown, kept by hand in ``texts/``. Commands, options, mount options and profile
keys are read off the program and put into them, so that they cannot be out of date::

    commands    click's commands  ─┐
    texts/*.md  all other words   ─┼─ pages ─┬─ the site's pages, as they are
                                             └─ roff ── man pages

``tests/project/test_manual.py`` fails when the program knows an errno, an exit code, a signal, a
variable or an attribute that the texts do not explain. ``python -m backlotfs.manual DIR`` writes
all of it; ``make manual``, ``make install`` and ``make docs`` call that.
"""
