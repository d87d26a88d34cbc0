# SPDX-License-Identifier: Apache-2.0
dist_check_SCRIPTS += test/t1060-users.t \
    test/t1061-malice.t \
    test/t1062-kill.t \
    test/t1070-ckpt.t \
    test/t2000-conform.t \
    test/t2062-libvirtd.t
TESTS += test/t1060-users.t \
    test/t1061-malice.t \
    test/t1062-kill.t \
    test/t1070-ckpt.t \
    test/t2000-conform.t \
    test/t2062-libvirtd.t
TESTS_MORE += test/t3060-lab-vm.t
dist_noinst_SCRIPTS += test/vm/clones test/vm/conform test/vm/kills
dist_noinst_DATA += test/vm/lib.sh
