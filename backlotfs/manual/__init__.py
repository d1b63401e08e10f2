# SPDX-License-Identifier: Apache-2.0
"""The manual: man pages, shell completions, and the reference of ``docs/``.

The texts are Markdown files in ``texts/``, written by hand. The descriptions of commands, options,
mount options and profile keys are taken from the program, so they are never out of date::

    commands    click's commands  ─┐
    texts/*.md  all other texts   ─┼─ pages ─┬─ the site's pages, as Markdown
                                             └─ roff ── man pages

``tests/project/test_manual.py`` fails if the program has an errno, an exit code, a signal, a
variable or an attribute that the texts do not explain. ``python -m backlotfs.manual DIR`` writes
the whole manual; ``make manual``, ``make install`` and ``make docs`` call this command.
"""
