# SPDX-License-Identifier: Apache-2.0
"""Exports a library by the workers of a Dask cluster.

Only the process that was started by the user, the *client*, talks to the API: it lists the library,
finds out the version of each asset, and has one rate limiter, so there is one budget of credits.
Just before an asset is copied it resolves the signed URL, which travels to a worker in the argument
of a *task* (`tasks`), in a class that never prints it. Workers read the source by that URL and
write to DEST (`worker`); they need no profile, no secret and no way to the API.

`pool` sends tasks to Dask and outlives a restart of its scheduler. `folder` and `store` are the two
sorts of DEST: a folder that all workers see, and an object store. `exporter` does that for many
assets. Dask has its own task for each asset, so a lost worker costs the tasks it had and no more.
"""
