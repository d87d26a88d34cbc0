#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='what is installed: units of systemd, paths in them'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_prereq SYSTEMD_ANALYZE 'systemd-analyze is not installed' command -v systemd-analyze

test_expect_success 'units name programs by their installed paths' '
    for unit in lodged lodge-agent; do
        unit=$LODGE_TOP_BUILDDIR/systemd/$unit.service
        grep -q "^ExecStart=/" "$unit" && ! grep -q "@[a-z]*@" "$unit" || return 1
    done
'

test_expect_success SYSTEMD_ANALYZE 'systemd understands every line' '
    for unit in lodged lodge-agent; do
        sed "s,^ExecStart=.*,ExecStart=/bin/true," \
            "$LODGE_TOP_BUILDDIR/systemd/$unit.service" >$unit.service &&
        systemd-analyze verify --man=no ./$unit.service >$unit.out 2>&1
        cat $unit.out
        # A unit of another package that is not here is no fault of this one.
        ! grep "$PWD/$unit.service:" $unit.out || return 1
    done
'

lodge_prereq OFFLINE 'systemd-analyze is older than 250' sh -c 'systemd-analyze security --help | grep -q offline'
test_expect_success OFFLINE 'nothing is opened again without a word: how exposed they are' '
    while read unit most; do
        systemd-analyze security --no-pager --offline=true --threshold=$most ./$unit.service >$unit.score
        code=$? && tail -1 $unit.score && test $code = 0 || return 1
    done <<-END
	lodged 30
	lodge-agent 72
	END
'
test_done
