# SPDX-License-Identifier: Apache-2.0
"""A real mount beside a model that is plain enough to be right: see `test_model`."""
