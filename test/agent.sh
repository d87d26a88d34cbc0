# SPDX-License-Identifier: Apache-2.0
# For tests with an agent of their own, at $LODGE_AGENT_SOCKET; its log is agent.log.
LODGE_AGENT_SOCKET=$LODGE_RUN_DIR/agent.sock
export LODGE_AGENT_SOCKET

agent_answers() { # lodge vm list is content without an agent
    lodge vm stats nobody 2>&1 | grep -q "no VM 'nobody'"
}
# agent [OPTION...]: start it; $agent_pid.
agent() {
    mkdir -p "$LODGE_RUN_DIR"
    "$LODGE_LIBEXEC_DIR/lodge-agent" --stay "$@" 3>&- 4>&- 2>>agent.log &
    agent_pid=$!
    until_true 200 agent_answers
}
state() { # NAME
    lodge vm list --noheader --raw -o name,state | awk -v n="$1" '$1 == n { print $2 }'
}
is_state() { # NAME STATE
    test "$(state "$1")" = "$2"
}
until_state() { # NAME STATE
    until_true 600 is_state "$1" "$2" || { lodge vm list; false; }
}
