"""Settings of a mount: profiles, secrets, defaults and time limits."""
