# SPDX-License-Identifier: Apache-2.0
agent_tests = test/t0061-domain.t \
    test/t1060-users.t test/t1065-attacker.t \
    test/t1061-malice.t \
    test/t1062-kill.t \
    test/t1063-reclaim.t \
    test/t1070-ckpt.t \
    test/t2000-conform.t \
    test/t2060-net.t \
    test/t2061-user.t \
    test/t2062-libvirtd.t \
    test/t2063-ways.t test/t2064-attacker.t \
    test/t2120-moments.t \
    test/t3070-passthrough.t
# Minutes of emulated machines; not run often enough yet to be in every run.
agent_tests_more = test/t2100-ckpt.t \
    test/t2110-freeze.t \
    test/t3060-lab-vm.t \
    test/t3062-lab-kill.t \
    test/t3310-ckpt-hpc.t \
    test/t3320-ckpt-nodes.t
dist_check_SCRIPTS += $(agent_tests) $(agent_tests_more)
TESTS += $(agent_tests)
TESTS_MORE += $(agent_tests_more)
dist_noinst_SCRIPTS += test/vm/clones test/vm/conform test/vm/keeps test/vm/kills test/vm/moments \
    test/vm/term test/vm/thaws test/vm/ways
dist_noinst_DATA += test/vm/lib.sh

check_PROGRAMS += test/unit/agent.tap
test_unit_agent_tap_SOURCES = test/unit/agent.c test/unit/unit.h \
    src/agent/identity.c src/agent/networks.c src/agent/plan.c src/agent/reserve.c src/agent/room.c src/agent/state.c \
    src/agent/vm.c src/agent/vt_xml.c
test_unit_agent_tap_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) $(XML2_CFLAGS)
test_unit_agent_tap_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=geteuid
test_unit_agent_tap_LDADD = src/place/libplace.la src/profile/libprofile.la \
    src/proto/libproto.la src/base/libbase.la $(XML2_LIBS) $(JANSSON_LIBS) \
    $(SYSTEMD_LIBS) $(CMOCKA_LIBS)
