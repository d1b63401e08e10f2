# SPDX-License-Identifier: Apache-2.0
"""What is released: the files of ``make dist`` and ``make deb``, built twice and used."""
