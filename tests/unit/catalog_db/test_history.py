# SPDX-License-Identifier: Apache-2.0
"""Any history of syncs, probes, names and restarts: the database beside a dictionary."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from backlotfs.api.records import Asset, DeletedAsset
from backlotfs.catalog.db import assets, names, saved_listing, state
from backlotfs.catalog.db.rows import AssetRow, EmptyListingDoubted
from backlotfs.catalog.db.sync import FullSync
from tests.fakes.clocks import ManualClock
from tests.support.long_runs import runs
from tests.unit.catalog_db.catalogs import (
    MODE,
    apply,
    file_names,
    give_names,
    made,
    open_db,
    probed,
)
from tests.unit.catalog_db.catalogs import (
    records as stored_records,
)

some_codes = st.lists(st.sampled_from("ABCDEF"), max_size=6, unique=True)
records = some_codes.flatmap(
    lambda codes: st.tuples(
        *(
            st.builds(
                made, st.just(code), updated=st.integers(2000, 2002), title=st.sampled_from("TU")
            )
            for code in codes
        )
    )
)


class History(RuleBasedStateMachine):
    """What the database says after each step, against the rules told in a few lines."""

    @initialize()
    def begin(self) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(assets, "MANY_CHANGES", 0)  # of so few assets
        self.folder = tempfile.TemporaryDirectory()
        self.clock = ManualClock()
        self.db = open_db(Path(self.folder.name), self.clock)
        self.library: dict[str, Asset] = {}
        self.sizes: dict[str, int] = {}
        self.names: dict[str, str] = {}
        # what another mount holds, who hears of changes only
        self.follower: dict[str, AssetRow] = {}
        self.seen = self.db.read(state.generation)

    def teardown(self) -> None:
        self.patch.undo()
        self.db.close()
        self.folder.cleanup()

    def listed(self, assets: tuple[Asset, ...]) -> None:
        self.library |= {asset.embed_code: asset for asset in assets}

    def gone(self, codes: set[str]) -> None:
        for known in (self.library, self.sizes, self.names):
            for code in codes & known.keys():
                del known[code]

    @rule(first=records, second=records, between=st.booleans())
    def walk(self, first: tuple[Asset, ...], second: tuple[Asset, ...], between: bool) -> None:
        """Two pages, perhaps with a restart between them; of two records the later counts."""
        FullSync(self.db).add(first, "/page2")
        if between:
            self.restart()
        FullSync(self.db).add(second, None)
        found: dict[str, Asset] = {}
        for asset in (*first, *second):
            known = found.get(asset.embed_code)
            if known is None or asset.updated_at_s >= known.updated_at_s:
                found[asset.embed_code] = asset
        try:
            FullSync(self.db).finish(doubt_empty=True)
        except EmptyListingDoubted:
            assert self.library
            assert not found
            return
        self.gone(self.library.keys() - found.keys())
        self.listed(tuple(found.values()))

    @rule(listed=records, deleted=some_codes, at=st.integers(2000, 2003))
    def refresh(self, listed: tuple[Asset, ...], deleted: list[str], at: int) -> None:
        """An incremental answer."""
        apply(self.db, listed, [DeletedAsset(code, at) for code in deleted])
        self.listed(listed)
        self.gone(
            {
                code
                for code in deleted
                if code in self.library and self.library[code].updated_at_s <= at
            }
        )

    @rule(codes=some_codes, size=st.integers(0, 3))
    def probe(self, codes: list[str], size: int) -> None:
        """Sizes come in."""
        self.db.write(assets.save_sources, [probed(code, size) for code in codes])
        self.sizes |= dict.fromkeys(codes & self.library.keys(), size)

    @rule()
    def name(self) -> None:
        """The nameless are named."""
        give_names(self.db, MODE, file_names)
        self.names = {code: f"{code}.mov" for code in self.library}

    @rule()
    def restart(self) -> None:
        """A re-mount."""
        self.db.close()
        self.db = open_db(Path(self.folder.name), self.clock)

    @rule()
    def save(self) -> None:
        """A mount ends, and saves its listing; from then on the rows are read from that."""
        table = self.db.read(assets.rows, MODE)
        if table:
            view = saved_listing.view(MODE, (), ())
            self.db.write(saved_listing.save, view, self.db.read(state.generation), table)

    @rule()
    def follow(self) -> None:
        """The other mount catches up."""
        changed = self.db.read(assets.changed_since, MODE, self.seen)
        assert changed is not None
        self.follower |= {row.embed_code: row for row in changed[0]}
        for code in changed[1]:
            self.follower.pop(code, None)
        self.seen = self.db.read(state.generation)
        assert self.follower == {row.embed_code: row for row in self.db.read(assets.rows, MODE)}

    @invariant()
    def agrees(self) -> None:
        rows = {row.embed_code: row for row in self.db.read(assets.rows, MODE)}
        assert {asset.embed_code: asset for asset in stored_records(self.db)} == self.library
        assert {code: row.updated_at_s for code, row in rows.items()} == {
            code: asset.updated_at_s for code, asset in self.library.items()
        }
        assert {code: row.name for code, row in rows.items() if row.name} == self.names
        assert {code: row.size for code, row in rows.items() if row.size >= 0} == self.sizes
        assert self.db.read(state.total_size) == sum(self.sizes.values())
        assert self.db.read(state.sized_counts) == (len(self.sizes), 0, len(self.library))
        unnamed = {asset.embed_code for asset in self.db.read(names.nameless, MODE)}
        assert unnamed == self.library.keys() - self.names.keys()


TestHistory = History.TestCase
# Each step is a few transactions: these take three seconds and meet every pair of rules.
TestHistory.settings = settings(max_examples=runs(30), stateful_step_count=20, deadline=None)
