# SPDX-License-Identifier: Apache-2.0
# Sourced first by every test/tNNNN-name.t, after test_description. Gives: sharness; the
# build's programs first in PATH; Lodge's directories below a temporary one, so that no
# test sees the machine's own Lodge; named prerequisites with a reason for each skip; at
# the end, the death of every process the test left behind.
#
#   LODGE_TOP_SRCDIR, LODGE_TOP_BUILDDIR   set by make check; guessed when run by hand
#   LODGE_TEST_TMP                         the test's own directory; short, for sockets
#   lodge_prereq NAME 'reason' COMMAND...  NAME is there if COMMAND succeeds
#   ready made: ROOT KVM LAB LIBVIRT QEMU SLURM PLUGIN SANITIZERS
#   until_true N COMMAND...                waits until it succeeds, at most N tenths of a second
#
# sharness's own: test_expect_success [PREREQ] 'title' 'script', test_must_fail,
# test_expect_code, test_cmp, test_when_finished, cleanup, test_done. The output of a
# failing script is shown below its "not ok".

: "${LODGE_TOP_SRCDIR:=$(cd "$(dirname "$0")/.." && pwd)}"
: "${LODGE_TOP_BUILDDIR:=$LODGE_TOP_SRCDIR/_build}"
if ! test -x "$LODGE_TOP_BUILDDIR/lodge"; then
    echo "Bail out! no build in '$LODGE_TOP_BUILDDIR'; set LODGE_TOP_BUILDDIR"
    exit 99
fi
for sharness in "${SHARNESS:-}" /usr/share/sharness/sharness.sh \
    /usr/local/share/sharness/sharness.sh; do
    test -f "$sharness" && break
done
test -f "$sharness" || {
    echo "1..0 # SKIP sharness is missing: apt-get install sharness"
    exit 0
}
lodge_home=$HOME
LODGE_TEST_TMP=$(mktemp -d "${TMPDIR:-/tmp}/lodge-t.XXXXXX") || exit 99
chmod 755 "$LODGE_TEST_TMP"
# Marks every process that descends from this test.
LODGE_TEST_ID=$LODGE_TEST_TMP
SHARNESS_TEST_DIRECTORY=$LODGE_TEST_TMP
SHARNESS_TEST_SRCDIR=$LODGE_TOP_SRCDIR/test
SHARNESS_BUILD_DIRECTORY=$LODGE_TOP_BUILDDIR
SHELL_PATH=${SHELL_PATH:-/bin/sh}
HARNESS_ACTIVE=${HARNESS_ACTIVE:-1}
export LODGE_TOP_SRCDIR LODGE_TOP_BUILDDIR LODGE_TEST_TMP LODGE_TEST_ID HARNESS_ACTIVE
. "$sharness"

LODGE_STATE_DIR=$LODGE_TEST_TMP/state
LODGE_RUN_DIR=$LODGE_TEST_TMP/run
LODGE_CACHE_DIR=$LODGE_TEST_TMP/cache
LODGE_CONFIG_DIR=$LODGE_TEST_TMP/config
LODGE_DATA_DIR=$LODGE_TOP_SRCDIR
LODGE_LIBEXEC_DIR=$LODGE_TOP_BUILDDIR
export LODGE_STATE_DIR LODGE_RUN_DIR LODGE_CACHE_DIR LODGE_CONFIG_DIR
export LODGE_DATA_DIR LODGE_LIBEXEC_DIR
unset LODGE_AGENT_SOCKET LODGE_DEBUG LODGE_IMAGE_PATH XDG_RUNTIME_DIR XDG_STATE_HOME \
    XDG_CACHE_HOME XDG_CONFIG_HOME
PATH=$PATH:/usr/sbin:/sbin
# What is kept between tests (kernels of the lab) stays where the user has it.
: "${LODGE_LAB_CACHE:=$lodge_home/.cache/lodge/lab}"
export LODGE_LAB_CACHE

# --- output of a failing test --------------------------------------------------------
lodge_output=$LODGE_TEST_TMP/output
test "$verbose" = t || exec 3>>"$lodge_output" 4>&3

test_failure_() {
    test_failure=$((test_failure + 1))
    echo "not ok $test_count - $1"
    shift
    printf '%s\n' "$*" | sed 's/^/#	/'
    test ! -s "$lodge_output" || tail -n 100 "$lodge_output" | sed 's/^/# | /'
    test -z "$immediate" || {
        EXIT_OK=t
        exit 1
    }
}

until_true() {
    lodge_left=$1
    shift
    while ! "$@" >/dev/null 2>&1; do
        lodge_left=$((lodge_left - 1))
        test $lodge_left -gt 0 || return 1
        sleep 0.1
    done
}

# --- prerequisites -------------------------------------------------------------------
lodge_prereq() {
    lodge_name=$1
    eval "lodge_reason_$1=\$2"
    shift 2
    if "$@" >/dev/null 2>&1 </dev/null; then
        test_set_prereq "$lodge_name"
    fi
}

test_skip_() {
    test_count=$((test_count + 1))
    : >>"$lodge_output"
    test "$verbose" = t || : >"$lodge_output"
    lodge_test=$this_test.$test_count
    for lodge_skip in $SKIP_TESTS; do
        case $lodge_test in
        $lodge_skip)
            echo "ok $test_count # skip $1 ($lodge_skip is in SKIP_TESTS)"
            return 0
            ;;
        esac
    done
    if test -z "$test_prereq" || test_have_prereq "$test_prereq"; then
        return 1
    fi
    eval "lodge_why=\${lodge_reason_$missing_prereq:-no reason known}"
    echo "ok $test_count # skip $1 ($missing_prereq: $lodge_why)"
}

# lodge_skip_all_unless NAME...: end the test here, as skipped, if one of these is missing.
lodge_skip_all_unless() {
    for lodge_name; do
        test_have_prereq "$lodge_name" && continue
        eval "skip_all=\"$lodge_name: \${lodge_reason_$lodge_name:-no reason known}\""
        test_done
    done
}

lodge_can_open() {
    (exec 7<>"$1") 2>/dev/null
}

# A lab needs QEMU and the kernel that test/lab/prepare put into the cache.
lodge_has_lab() {
    command -v qemu-system-x86_64 && "$LODGE_TOP_SRCDIR/test/lab/prepare" --check
}

lodge_prereq ROOT 'must be root' test "$(id -u)" = 0
lodge_prereq KVM '/dev/kvm cannot be opened' lodge_can_open /dev/kvm
lodge_prereq LAB 'no QEMU, or test/lab/prepare was never run' lodge_has_lab
lodge_prereq LIBVIRT 'libvirtd is not installed' command -v libvirtd
lodge_prereq QEMU 'qemu-system-x86_64 or libvirtd is not installed' \
    sh -c 'command -v qemu-system-x86_64 && command -v libvirtd'
lodge_prereq SLURM 'slurmctld and slurmd are not installed' \
    sh -c 'command -v slurmctld && command -v slurmd && command -v munged'
lodge_prereq PLUGIN 'built without Slurm' test -f "$LODGE_TOP_BUILDDIR/plugins/slurm/.libs/lodge.so"
lodge_prereq SANITIZERS 'not built with --enable-sanitizers' \
    test -n "${LODGE_TEST_SANITIZERS:-}"

# --- the end -------------------------------------------------------------------------
# The pids of processes that carry our mark, but not of this shell.
lodge_leftovers() (
    unset LODGE_TEST_ID
    grep -lzsF "$1" /proc/[0-9]*/environ | sed 's,/proc/\([0-9]*\)/.*,\1,' | grep -vx "$$"
)

# Machines that a failed test left: processes can be found by our mark, but a container of
# libvirt's, a link or a control group only its agent takes back.
lodge_reclaim() (
    LODGE_STATE_DIR=$LODGE_TEST_TMP/state
    lodge_lock=$LODGE_STATE_DIR/agent.lock
    ls "$LODGE_STATE_DIR"/agent/*.json || return
    flock -n "$lodge_lock" true || kill "$(cat "$lodge_lock")"
    timeout 20 flock "$lodge_lock" rm -f "$LODGE_STATE_DIR"/agent/*.json
    timeout 120 lodge-agent --reclaim
)

lodge_end() {
    lodge_code=$?
    trap - EXIT
    lodge_reclaim >/dev/null 2>&1
    # A test that started more than processes takes it away here, however it ends.
    if command -v lodge_take_away >/dev/null; then lodge_take_away >/dev/null 2>&1; fi
    for lodge_sig in TERM TERM KILL KILL; do
        lodge_left=$(lodge_leftovers "LODGE_TEST_ID=$LODGE_TEST_ID")
        test -n "$lodge_left" || break
        test $lodge_sig = TERM || echo "# killing what is left: $(echo $lodge_left)"
        kill -$lodge_sig $lodge_left 2>/dev/null
        sleep 0.2
    done
    cd /
    if test -n "$debug"; then
        echo "# kept: $LODGE_TEST_TMP"
    else
        rm -rf --one-file-system "$LODGE_TEST_TMP"
    fi
    test -n "$EXIT_OK" || {
        echo "Bail out! unexpected end with status $lodge_code"
        test $lodge_code != 0 || lodge_code=1
    }
    exit $lodge_code
}
trap lodge_end EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir -p "$LODGE_CONFIG_DIR"
