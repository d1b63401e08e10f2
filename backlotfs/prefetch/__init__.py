"""What to fetch ahead of the readers of a source: pure, the clock is passed in.

`registry.PrefetcherRegistry` keeps one `planner.ReadPlanner` for each version of a source that is,
or lately was, open, and shares the memory among them. A planner follows the places that are being
read, and says which blocks to fetch ahead and in how large requests.
"""
