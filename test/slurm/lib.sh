# SPDX-License-Identifier: Apache-2.0
# For tests of the plugin: a private Slurm whose nodes have an agent, a lodged, and a look at what
# is left after each case. The demonstration and the bench use it, too, without test/lib.sh.
C=$LODGE_TOP_SRCDIR/test/slurm/cluster
D=$LODGE_TEST_TMP/c
B=$LODGE_TOP_BUILDDIR
USER1=65534 # nobody
USER2=2     # bin

# slurm_up [CLUSTER OPTION]...: start all of it
slurm_up() {
    mkdir -p "$D/lodge/config" "$D/lodge/head" "$D/log" || return 1
    chmod 755 "$D" "$D/lodge" "$D/lodge/head"
    cat >"$D/lodge/env" <<EOT || return 1
export LODGE_CONFIG_DIR='$D/lodge/config' LODGE_DATA_DIR='$LODGE_DATA_DIR'
export LODGE_LIBEXEC_DIR='$LODGE_LIBEXEC_DIR'
export LODGE_IMAGE_PATH='${LODGE_IMAGE_PATH-}' LODGE_WITH_LIBVIRT='${LODGE_WITH_LIBVIRT-}'
EOT
    slurm_lodged || return 1
    "$C" start --setup "$LODGE_TOP_SRCDIR/test/slurm/node-setup" \
        --plugstack "required $B/plugins/slurm/.libs/lodge.so agent=/run/lodge/agent.sock lodged=$D/lodge/head/lodged.sock exec=$B/lodge-exec helper=$B/lodge-slurm lodge=$B/lodge record=/run/lodge/slurm" \
        "$@" "$D" || return 1
    eval "$("$C" env "$D")"
    . "$D/cluster"
    slurm_net=10.$net
}

slurm_lodged() {
    LODGE_CONFIG_DIR=$D/lodge/config LODGE_STATE_DIR=$D/lodge/head LODGE_RUN_DIR=$D/lodge/head \
        "$B/lodged" --socket "$D/lodge/head/lodged.sock" --database "$D/lodge/head/lodge.db" \
        </dev/null >>"$D/log/lodged" 2>&1 &
    slurm_lodged_pid=$!
    slurm_i=0
    while ! test -S "$D/lodge/head/lodged.sock"; do
        test $slurm_i -lt 200 || return 1
        slurm_i=$((slurm_i + 1))
        sleep 0.05
    done
}

slurm_down() { "$C" stop "$D"; }
# After the case that starts it: nothing else makes sense without a cluster.
slurm_or_end() { test -f "$D/cluster" || test_done; }

# For test/lib.sh: also when a signal ends the test.
lodge_take_away() { test ! -f "$D/cluster" || slurm_down; }

# as UID COMMAND...: as this user, somewhere it may write
as() {
    slurm_uid=$1
    shift
    (cd "$LODGE_TEST_TMP/home.$slurm_uid" &&
        exec setpriv --reuid="$slurm_uid" --regid="$slurm_uid" --clear-groups \
            env HOME="$PWD" "$@")
}
slurm_home() {
    mkdir -p "$LODGE_TEST_TMP/home.$1" && chown "$1:$1" "$LODGE_TEST_TMP/home.$1"
}

# until_ok SECONDS COMMAND...
until_ok() {
    slurm_end=$(($(date +%s) + $1))
    shift
    until "$@"; do
        test "$(date +%s)" -lt "$slurm_end" || return 1
        sleep 0.2
    done
}
# Of these nodes: a test may keep another for what takes long.
slurm_nodes=n1,n2
slurm_quiet() {
    test -z "$(squeue -h -w $slurm_nodes)" && test -z "$(squeue -h -t PENDING)" &&
        test "$(sinfo -h -N -n $slurm_nodes -o %t | sort -u)" = idle
}

# clean: no job, all nodes idle, and nothing of any job left on a node
clean() {
    until_ok "${1:-60}" slurm_quiet || {
        squeue
        sinfo -N -o '%N %t %E'
        return 1
    }
    until_ok 20 slurm_empty || {
        slurm_residue
        return 1
    }
}
slurm_residue() {
    for slurm_n in $(echo $slurm_nodes | tr , " "); do
        "$C" exec "$D" $slurm_n sh -c '
            ls -A /run/lodge/slurm 2>/dev/null | sed "s/^/record /"
            ls -A /run/lodge/vms 2>/dev/null | sed "s/^/run directory of VM /"
            ls -A "$1/state/vms" 2>/dev/null | sed "s/^/row of VM /"
            ls -A "$1/state/scratch" 2>/dev/null | sed "s/^/scratch file /"
            findmnt -rno TARGET | grep -e "^/run/lodge/" -e "^$1/state/" | sed "s/^/mount /"
            grep -E "HugePages_Rsvd: *[1-9]" /proc/meminfo
            find /sys/fs/cgroup -name "job_*" -type d 2>/dev/null | sed "s/^/cgroup /"
            ip -o link | grep -v "lo:\|eth0" | sed "s/^/link /"
            ps axo pid,args | grep -E "[l]odge-guest|[l]odge-vmm|[q]emu-system|[l]odge-slurm|[l]odge-exec" | sed "s/^/process /"
        ' sh "$D/$slurm_n" | sed "s/^/$slurm_n: /"
    done
}
slurm_empty() { test -z "$(slurm_residue)"; }

# vm_states NODE: a state a line
vm_states() {
    "$C" exec "$D" "$1" env LODGE_AGENT_SOCKET=/run/lodge/agent.sock "$B/lodge" vm list --noheader -o STATE
}

# fake_profile NAME [APPEND] [MEMORY]: a profile of type fake
fake_profile() {
    cat <<EOT
<?xml version="1.0"?>
<profile>
  <name>$1</name>
  <type>fake</type>
  <memory>${3:-64}</memory>
  <image>none</image>
  ${2:+<append>$2</append>}
</profile>
EOT
}
job() { timeout 120 "$@"; }
head_lodge() { LODGE_RUN_DIR=$D/lodge/head "$B/lodge" "$@"; }
job_field() { scontrol -o show job "$1" | tr " " "\n" | sed -n "s/^$2=//p" | head -n 1; }
state_of() { job_field "$1" JobState; }
state_is() { test "$(state_of "$1")" = "$2"; }
node_reason() { sinfo -h -N -n "$1" -o %E | head -n 1; }
