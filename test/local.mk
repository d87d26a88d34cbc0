# SPDX-License-Identifier: Apache-2.0
# Unit tests: one cmocka program a room, test/unit/ROOM.c and ROOM.mk. Programs are driven
# by sharness in test/t*.t; t0xxx needs nothing, t1xxx root, t2xxx libvirt, t3xxx a lab,
# t4xxx Slurm.
include test/fuzz/local.mk
if WITH_TESTS
include test/unit/base.mk
include test/unit/proto.mk
include test/unit/profile.mk
include test/unit/node.mk
include test/unit/transport.mk
include test/unit/store.mk
include test/unit/image.mk
include test/unit/place.mk
include test/unit/client.mk
include test/unit/agent.mk
include test/unit/guest.mk
include test/unit/controller.mk
include test/unit/cli.mk
if WITH_VMM
include test/unit/ckpt.mk
include test/unit/vmm.mk
endif
TESTS += $(check_PROGRAMS)
endif
dist_noinst_DATA += test/agent.sh test/forge.py test/lib.sh test/users.sh
dist_check_SCRIPTS += test/t0001-basic.t test/t0002-node.t test/t0003-tree.t
TESTS += test/t0001-basic.t test/t0002-node.t test/t0003-tree.t
include test/guests/local.mk
include test/lab/local.mk
include test/slurm/local.mk
