#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='networks on one node: none, isolated, NAT, bridged, VLAN; addresses by the channel'
# A node of our own: network and mount namespace, so that no bridge meets the host's.
if test "$(id -u)" = 0 && test -z "$LODGE_TEST_OWN_RUN"; then
    LODGE_TEST_OWN_RUN=1 LODGE_TEST_OUTER=$$ unshare -m -n --propagation private sh "$0" "$@"
    exit
fi
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_skip_all_unless ROOT
lodge_prereq LXC 'libvirt has no LXC driver' \
    sh -c 'command -v libvirtd && test -x /usr/lib/libvirt/libvirt_lxc'
lodge_prereq NAT 'neither nftables nor iptables can translate addresses here' \
    sh -c 'nft "add table ip t; add chain ip t p { type nat hook postrouting priority 100; }" && nft delete table ip t ||
        iptables -t nat -L'
lodge_skip_all_unless LXC
. "$LODGE_TOP_SRCDIR/test/vm/lib.sh"
# /sys that shows this namespace's interfaces, with the control groups there were.
mkdir "$LODGE_TEST_TMP/cgroup" && mount --rbind /sys/fs/cgroup "$LODGE_TEST_TMP/cgroup" &&
    mount -t sysfs lodge-test-sys /sys && mount --rbind "$LODGE_TEST_TMP/cgroup" /sys/fs/cgroup &&
    umount -R -l "$LODGE_TEST_TMP/cgroup"
vm_own_libvirt
lodge_take_away() {
    kill $outside $listeners
    vm_own_libvirt_end
}
ip link set lo up

profile() { # NAME NIC...
    name=$1
    shift
    printf '<?xml version="1.0"?>\n<profile><name>%s</name><type>lxc</type><memory>128M</memory><image>debian-fast</image><nics>%s</nics></profile>\n' "$name" "$*" >"$name.xml"
}
address_of() { lodge vm list --noheader --raw -o name,address | awk -v n="$1" '$1 == n { print $2 }'; }
inside() { # NAME COMMAND
    lodge vm exec -T "$1" bash -c "$2" </dev/null
}
# No program that pings is in the image: a refused connection has crossed the network and
# come back, which no other error has.
reaches() { # NAME ADDRESS
    inside "$1" "exec 3<>/dev/tcp/$2/9" 2>said
    grep -qi refused said || { cat said; false; }
}
reaches_not() { # no answer, or no way
    inside "$1" "timeout 2 bash -c 'exec 3<>/dev/tcp/$2/9'" 2>said
    ! grep -qi refused said
}
listen() { # FILE COMMAND-PREFIX...: writes who came
    file=$1
    shift
    "$@" python3 -c '
import socket
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("0.0.0.0", 7777)); s.listen(9)
while True:
    c, a = s.accept(); c.sendall((a[0] + "\n").encode()); c.close()' &
    listeners="$listeners $!"
}

# The world outside: a namespace behind a pair of interfaces, 192.0.2.2; it also is a
# host in the bridge br-site and in br.7, the site's bridge of VLAN 7 (whose tagging is the
# site's own; not every kernel has it).
unshare -n sleep 3600 &
outside=$!
out() { nsenter -t $outside -n "$@"; }
test_expect_success 'an image, a world outside, the bridges of a site' '
    export lodge_home && # the archive is reached from outside only
    nsenter -t "$LODGE_TEST_OUTER" -n sh -c ". \"$LODGE_TOP_SRCDIR/test/vm/lib.sh\" && vm_image" &&
    ip link add up0 type veth peer name out0 netns $outside && ip addr add 192.0.2.1/24 dev up0 && ip link set up0 up &&
    ip link add br-site type bridge && ip link set br-site up &&
    ip link add br.7 type bridge && ip link set br.7 up &&
    ip link add up1 type veth peer name out1 netns $outside && ip link set up1 master br-site up &&
    ip link add up2 type veth peer name out2 netns $outside && ip link set up2 master br.7 up &&
    out ip link set lo up && out ip addr add 192.0.2.2/24 dev out0 && out ip link set out0 up &&
    out ip addr add 10.1.0.1/16 dev out1 && out ip link set out1 up &&
    out ip addr add 10.7.0.1/24 dev out2 && out ip link set out2 up &&
    echo "networks = br-site=10.1.4.10-10.1.4.99/16@10.1.0.1, br.7=10.7.0.10-10.7.0.20/24" >"$LODGE_CONFIG_DIR/lodge.conf" &&
    listen world nsenter -t $outside -n
'
test_expect_success 'none: no interface but its own loop' '
    profile none && lodge vm start none.xml &&
    test "$(inside none "ls /sys/class/net; cut -d: -f1 /proc/net/dev | tail -n +3" | sort -u | tr -d " \n")" != "" &&
    ! inside none "cut -d: -f1 /proc/net/dev" | grep -q eth && lodge vm destroy -f none
'
test_expect_success 'isolated: those of a group reach each other, others do not' '
    profile a "<nic type=\"isolated\" network=\"one\"/>" && profile b "<nic type=\"isolated\" network=\"one\"/>" &&
    profile c "<nic type=\"isolated\" network=\"two\"/>" &&
    lodge vm start a.xml && lodge vm start b.xml && lodge vm start c.xml &&
    reaches a $(address_of b) && reaches b $(address_of a) &&
    reaches_not c $(address_of a) && reaches_not a 192.0.2.2 && reaches_not a 192.0.2.1
'
test_expect_success 'their bridges go with the last machine' '
    test $(ip -o link | grep -c ": lgb") = 2 && lodge vm destroy -f c && test $(ip -o link | grep -c ": lgb") = 1 &&
    lodge vm destroy -f a b && test $(ip -o link | grep -c ": lgb") = 0
'
test_expect_success NAT 'NAT: the world is reached, and sees the node' '
    profile nat "<nic type=\"tap-nat\"/>" && lodge vm start nat.xml &&
    test "$(inside nat "exec 3<>/dev/tcp/192.0.2.2/7777; cat <&3")" = 192.0.2.1 && lodge vm destroy -f nat
'
test_expect_success 'bridged: in the site'"'"'s network, with an address of its range' '
    profile br "<nic type=\"bridged-tap\" option=\"br-site\"/>" && lodge vm start br.xml && address_of br >address &&
    grep -qE "^10\.1\.4\.[1-9][0-9]$" address &&
    test "$(inside br "exec 3<>/dev/tcp/10.1.0.1/7777; cat <&3")" = "$(cat address)" &&
    test "$(inside br "exec 3<>/dev/tcp/192.0.2.2/7777; cat <&3")" = "$(cat address)" && lodge vm destroy -f br
'
test_expect_success 'VLAN: in the VLAN of its number only' '
    profile vlan "<nic type=\"vlan\" option=\"7\"/>" && lodge vm start vlan.xml &&
    test "$(inside vlan "exec 3<>/dev/tcp/10.7.0.1/7777; cat <&3")" = "$(address_of vlan)" &&
    reaches_not vlan 10.1.0.1 && lodge vm destroy -f vlan &&
    profile no "<nic type=\"vlan\" option=\"8\"/>" && test_must_fail lodge vm start no.xml 2>said &&
    grep "bridge .br.8. does not exist" said && lodge vm destroy -f no
'
test_expect_success 'users name the bridges that the site lists, no others' '
    ip link add br-admin type bridge &&
    sed "s/lxc/fake/; s/br-site/br-admin/" br.xml >admin.xml && sed "s/lxc/fake/" br.xml >site.xml && chmod 644 *.xml &&
    as() { setpriv --reuid 64001 --regid 64001 --clear-groups env HOME=/nonexistent LODGE_AGENT_SOCKET="$LODGE_RUN_DIR/agent.sock" \
        LODGE_STATE_DIR=/nonexistent LODGE_RUN_DIR=/nonexistent LODGE_CONFIG_DIR=/nonexistent "$@"; } &&
    lodge vm list && test_must_fail as lodge vm start "$PWD/admin.xml" 2>said &&
    grep "does not give bridge .br-admin. to users" said &&
    as lodge vm start "$PWD/site.xml" && lodge vm destroy -f br
'
test_expect_success 'nothing is left' '
    lodge vm list && test -z "$(lodge vm list --noheader)" && ! ip -o link | grep -E ": lg[0-9a-f]{10}|: lgb" && ! ls "$LODGE_RUN_DIR"/vms/* 2>/dev/null
'
test_done
