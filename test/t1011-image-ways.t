#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='images: locks, other users, every format and mode of the root'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"

. "$LODGE_TOP_SRCDIR/test/image/lib.sh"
tools() {
    for tool in mmdebstrap mkfs.erofs mksquashfs qemu-img debugfs setpriv unshare newuidmap; do
        command -v $tool || return 1
    done
}
lodge_prereq TOOLS 'mmdebstrap, erofs-utils, squashfs-tools, qemu-utils, e2fsprogs or uidmap is missing' tools
lodge_skip_all_unless TOOLS
lodge_prereq SKOPEO 'skopeo or umoci is missing' sh -c 'command -v skopeo && command -v umoci'
lodge_skip_all_unless BUSYBOX

outputs() { lodge image show "$1" | jq -S .content.outputs; }

# Somebody without root who may use ids: in a mount namespace of its own, so that the
# machine's /etc/subuid stays as it is.
as_nobody() {
    printf 'nobody:300000:65536\n' >subids &&
        unshare -m --propagation private sh -c '
            mount --bind subids /etc/subuid && mount --bind subids /etc/subgid &&
                mount --bind "$1" "$2/debs" &&
                exec setpriv --reuid 65534 --regid 65534 --clear-groups \
                    --inh-caps=-all sh "$2/build"' sh "$keep/debs" "$PWD/theirs"
}
mkdir theirs && cat >theirs/build <<\EOF
cd "${0%/build}" && here=$PWD || exit 1
HOME=$here/home LODGE_STATE_DIR=$here/state LODGE_CACHE_DIR=$here/cache
LODGE_RUN_DIR=$here/run LODGE_CONFIG_DIR=$here/config
export HOME LODGE_STATE_DIR LODGE_CACHE_DIR LODGE_RUN_DIR LODGE_CONFIG_DIR
mkdir -p "$LODGE_CACHE_DIR/images" && ln -s "$here/debs" "$LODGE_CACHE_DIR/images/debs" &&
    cd some/where/else && lodge image build --offline all.xml && lodge image verify all &&
    lodge image show all >"$here/shown" && lodge image list --json >"$here/listed"
EOF

cat >all.xml <<EOF
<image><name>all</name><from suite="bookworm"/><packages>bash coreutils</packages>
  <prune>docs locales apt caches</prune>
  <outputs>ext4 qcow2 squashfs tar oci</outputs></image>
EOF
test_expect_success 'a lock is written: every package with its SHA256' '
    lodge image build --update-lock all.xml && cat all.xml.lock >&3 &&
    grep -q "^bash [^ ]* amd64 [0-9a-f]\{64\} [0-9]* " all.xml.lock &&
    ! grep -v "^#" all.xml.lock | grep -v "^[^ ]* [^ ]* [a-z0-9]* [0-9a-f]\{64\} [0-9]* [a-z]*:[^ ]*$" &&
    digest all >first && outputs all >outputs.first
'
test_expect_success 'by the lock, in another directory, without root and network: the same bytes' '
    mkdir -p theirs/debs theirs/some/where/else theirs/home &&
    cp all.xml all.xml.lock theirs/some/where/else/ && chown -R 65534:65534 theirs &&
    as_nobody &&
    jq -S .content.outputs theirs/shown >outputs.second && test_cmp outputs.first outputs.second &&
    jq -r ".data[].digest" theirs/listed >second && test_cmp first second
'
test_expect_success 'a lock that names other bytes is refused' '
    mkdir wrong && cp all.xml wrong/ &&
    sed "/^bash /s/ [0-9a-f]\{64\} / $(printf "%064d" 7) /" all.xml.lock >wrong/all.xml.lock &&
    test_must_fail lodge image build wrong/all.xml 2>why && cat why >&3 &&
    test $(wc -l <why) -eq 1 && grep -q "step .fetch." why && grep -qi "hash" why &&
    echo "bash one two" >wrong/all.xml.lock &&
    test_must_fail lodge image build wrong/all.xml 2>why && grep -q "all.xml.lock:1: not a line" why
'
test_expect_success 'a package that was changed in the cache is refused' '
    sum=$(awk "/^bash / { print \$4 }" all.xml.lock) && mkdir -p bad/images/debs &&
    cp "$keep"/debs/* bad/images/debs/ && chmod u+w bad/images/debs/$sum.deb &&
    printf x | dd of=bad/images/debs/$sum.deb bs=1 seek=5000 conv=notrunc status=none &&
    test_must_fail env LODGE_CACHE_DIR="$PWD/bad" LODGE_STATE_DIR="$PWD/bads" \
        lodge image build --offline all.xml 2>why && cat why >&3 && rm -rf bad &&
    test $(wc -l <why) -eq 1 && grep -q "bash.*SHA256" why
'
test_expect_success 'verify --rebuild: the same, and what differs after a change' '
    cat >one.xml <<-EOF &&
	<image><name>one</name><from directory="tiny"/><file path="/etc/motd">hello</file>
	  <root format="squashfs"/></image>
	EOF
    lodge image build one.xml && lodge image verify --rebuild one | grep -q "same digest" &&
    sed -i "s/hello/other/" one.xml &&
    test_must_fail lodge image verify --rebuild one 2>why && cat why >&3 && grep -q "built again" why
'
test_expect_success 'a step that is not the same twice is found and named' '
    sed "s,</image>,<run>/bin/busybox dd if=/dev/urandom of=/etc/dice bs=8 count=1</run><check reproducible=\"yes\"/></image>," \
        one.xml >dice.xml &&
    test_must_fail lodge image build dice.xml 2>why && cat why >&3 &&
    grep -q "not reproducible: ./etc/dice. changed" why
'

kernel='<kernel package="linux-image-cloud-amd64" append="quiet"><initramfs>virtio_pci virtio_blk MODULES</initramfs>
  LOAD</kernel><init>/bin/show</init><marker>shown all</marker>'
with() { # NAME MODULES ROOT [<load>...]
    cat <<EOF
<image><name>$1</name><from directory="tiny"/>
<file path="/bin/show" mode="0755">
#!/bin/sh
PATH=/bin; export PATH; busybox --install -s /bin
set -e
grep " / " /proc/mounts
echo new >/etc/new
cat /etc/new
if test -d /run/lodge/scratch; then
    fsfreeze --freeze /run/lodge/scratch
    fsfreeze --unfreeze /run/lodge/scratch
    echo froze
fi
echo shown all
poweroff -f
</file>
$(echo "$kernel" | sed "s/MODULES/$2/; s,LOAD,$4,")
<root $3/></image>
EOF
}
test_expect_success QEMU 'root on a scratch disk: it boots, is written to, can be frozen' '
    with scratch erofs "format=\"erofs\" mode=\"scratch\"" "<load>overlay</load>" >scratch.xml &&
    lodge image build scratch.xml && boot scratch --console 2>said; cat said >&3 &&
    grep -aq "^overlay / " said && grep -aq "^new" said && grep -aq "^froze" said
'
test_expect_success QEMU 'ext4 that is its own root: written to' '
    with plain ext4 "format=\"ext4\" mode=\"plain\"" >plain.xml &&
    lodge image build --check plain.xml && boot plain --console 2>said; cat said >&3 &&
    grep -aq "^/dev/[a-z]* / ext4 rw" said && grep -aq "^new" said
'
test_expect_success QEMU 'squashfs; a definition may ask for a trial boot' '
    with squash squashfs "format=\"squashfs\"" "<load>overlay</load>" | sed "s,</image>,<check boot=\"yes\"/></image>," >squash.xml &&
    lodge image build squash.xml && lodge image show squash >/dev/null &&
    sed "s,shown all</marker>,never said</marker>,; s,>squash<,>never<," squash.xml >never.xml &&
    test_must_fail lodge image build never.xml 2>why && cat why >&3 &&
    grep -q "ended before .never said. was on its console" why &&
    test_must_fail lodge image show never
'
test_expect_success SKOPEO 'the OCI output is an archive that others read' '
    lodge image show all >/dev/null &&
    cp "$LODGE_STATE_DIR/images/blobs/sha256/$(outputs all | jq -r .oci.sha256)" all.oci &&
    skopeo inspect oci-archive:all.oci | jq -r ".Layers | length" | grep -qx 1
'
test_expect_success SKOPEO 'import what docker save writes' '
    lodge image export one oci:layout && lodge image show one >/dev/null &&
    tag=$(jq -r ".manifests[0].annotations[\"org.opencontainers.image.ref.name\"]" layout/index.json) &&
    skopeo --insecure-policy copy -q oci:layout:$tag docker-archive:docker.tar:one:1 &&
    lodge image import docked docker-archive:docker.tar &&
    lodge image exec docked /bin/busybox cat /etc/motd | grep -q "hello\|other"
'
test_done
