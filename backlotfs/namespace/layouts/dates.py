"""Layout ``dates``: ``2013/01/`` by the time of creation in UTC, ``undated/`` without one."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from backlotfs.namespace.layouts.folder import Folder, R, folder_inode
from backlotfs.namespace.name_modes import NameMode

UNDATED = "undated"
_DAY_S = 86_400

#: Year and month as they are called; None for the undated.
Month = tuple[str, str] | None


def fill_dates(root: Folder[R], rows: Collection[R], mode: NameMode) -> None:
    """Puts every asset into the folder of its month; months without assets have none."""
    by_month: dict[Month, list[R]] = {}
    # a library has few days, and a calendar is slow to ask
    by_day: dict[int, list[R]] = {}
    for row in rows:
        day = row.created_at_s // _DAY_S if row.created_at_s > 0 else -1
        members = by_day.get(day)
        if members is None:
            members = by_day[day] = by_month.setdefault(_month_of(day), [])
        members.append(row)

    undated = by_month.pop(None, None)
    years: dict[str, Folder[R]] = {}
    for month in sorted(month for month in by_month if month):
        year, number = month
        if year not in years:
            years[year] = Folder(folder_inode(f"dates:{year}"))
            root.put_folder(year, years[year])
        folder: Folder[R] = Folder(folder_inode(f"dates:{year}/{number}"))
        folder.put_files(by_month[month], mode)
        years[year].put_folder(number, folder)
    if undated is not None:
        folder = Folder(folder_inode(f"dates:{UNDATED}"))
        folder.put_files(undated, mode)
        root.put_folder(UNDATED, folder)


def _month_of(day: int) -> Month:
    """:param day: days since the epoch; negative for no date."""
    if day < 0:
        return None
    try:
        date = datetime.fromtimestamp(day * _DAY_S, UTC)
    except (ValueError, OverflowError, OSError):  # beyond the year 9999
        return None
    return f"{date.year:04}", f"{date.month:02}"
