# SPDX-License-Identifier: Apache-2.0
# For tests of who may do what.

# as UID COMMAND...: as a user of that uid, with directories of its own, at $LODGE_AGENT_SOCKET.
as() {
    as_uid=$1
    shift
    setpriv --reuid "$as_uid" --regid "$as_uid" --clear-groups \
        env HOME=/nonexistent LODGE_AGENT_SOCKET="$LODGE_AGENT_SOCKET" \
        LODGE_STATE_DIR="$LODGE_TEST_TMP/u$as_uid" LODGE_RUN_DIR="$LODGE_TEST_TMP/u$as_uid" \
        LODGE_CONFIG_DIR="$LODGE_TEST_TMP/u$as_uid" "$@"
}

# refused WORDS COMMAND...: it fails, and says WORDS in one line.
refused() {
    words=$1
    shift
    "$@" >said 2>&1 </dev/null
    test $? != 0 && grep -q "$words" said && test "$(wc -l <said)" = 1 || { cat said; false; }
}
