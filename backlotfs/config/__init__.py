# SPDX-License-Identifier: Apache-2.0
"""Settings of a mount: profiles, secrets, defaults and time limits."""
