# SPDX-License-Identifier: Apache-2.0
# What distribution and debian-package begin with; sourced by them:  . .ci/exported-commit.sh
#
# They build from an export of the last commit, at the time of the commit, so that the same commit gives the
# same bytes, in whatever folder and by whomever. Sets commit, version, work (a folder for the time of the
# script) and source (the export in it), and defines run.
# shellcheck shell=sh
# shellcheck disable=SC2034 # the scripts use them
umask 022

commit=$(git rev-parse --short HEAD) || {
    printf '%s\n' "A package is made from a commit: run this in a checkout by git" >&2
    exit 1
}
[ -z "$(git status --porcelain)" ] || printf '%s\n' "Note: what is not committed is not in the package." >&2
version=$(git show HEAD:backlotfs/__init__.py | sed -n 's/^__version__ = "\(.*\)"$/\1/p')
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
source=$work/backlotfs-$version
mkdir "$source"
git archive HEAD | tar -xf - -C "$source"

# Run a command that says much, and show it only if the command fails.
run() {
    "$@" >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        exit 1
    }
}
