# SPDX-License-Identifier: Apache-2.0
"""Exports a library by the workers of a Dask cluster.

Only the *client*, the process that the user started, calls the API. The client lists the library,
finds out the version of each asset, and has one rate limiter, so there is one budget of credits.
Just before an asset is copied, the client resolves the signed URL. The URL is sent to a worker in
the argument of a *task* (`tasks`), in a class that never prints it. Workers read the source by this
URL and write to DEST (`worker`). They need no profile, no secret and no connection to the API.

`pool` sends tasks to Dask, and connects again after the scheduler was restarted. `folder` and
`store` are the two kinds of DEST: a folder that all workers see, and an object store. `exporter`
exports many assets. Each asset has Dask tasks of its own, so if a worker is lost, only the tasks
that it was running have to be repeated.
"""
