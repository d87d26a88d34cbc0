# SPDX-License-Identifier: Apache-2.0
pkglibexec_PROGRAMS += lodge-agent
lodge_agent_SOURCES = \
    src/agent/agent.h \
    src/agent/checkpoint.c src/agent/checkpoint.h \
    src/agent/check.c \
    src/agent/console.c src/agent/console.h \
    src/agent/facts.c \
    src/agent/frozen.c src/agent/frozen.h \
    src/agent/guest.c src/agent/guest.h \
    src/agent/identity.c src/agent/identity.h \
    src/agent/images.c src/agent/images.h \
    src/agent/life.c src/agent/life_cut.c src/agent/life.h src/agent/life_int.h src/agent/life_wait.c \
    src/agent/link.c src/agent/link.h \
    src/agent/load.c \
    src/agent/main.c \
    src/agent/method_deploy.c src/agent/method_job.c \
    src/agent/method_stream.c src/agent/method_which.c \
    src/agent/methods.c src/agent/methods.h \
    src/agent/networks.c src/agent/networks.h \
    src/agent/part_cgroup.c src/agent/part_net.c src/agent/part_scratch.c \
    src/agent/part_share.c src/agent/parts.h \
    src/agent/owner.c src/agent/owner.h \
    src/agent/plan.c src/agent/plan.h \
    src/agent/reclaim.c src/agent/reclaim.h \
    src/agent/reserve.c src/agent/reserve.h \
    src/agent/room.c src/agent/room.h \
    src/agent/snap.c src/agent/snap.h src/agent/snap_dir.c \
    src/agent/sock.c src/agent/sock.h \
    src/agent/stage.c src/agent/stage.h \
    src/agent/state.c src/agent/state.h \
    src/agent/ticket.c src/agent/ticket.h \
    src/agent/vfio.c src/agent/vfio.h \
    src/agent/vm.c src/agent/vm.h \
    src/agent/vt.c src/agent/vt.h \
    src/agent/vt_fake.c \
    src/agent/vt_xml.c src/agent/vt_xml.h \
    src/agent/work.c src/agent/work.h
if WITH_LIBVIRT
lodge_agent_SOURCES += \
    src/agent/rootfs.c src/agent/rootfs.h \
    src/agent/vt_api.c src/agent/vt_api.h \
    src/agent/vt_domain.h src/agent/vt_domain_snap.c \
    src/agent/vt_libvirt.c
endif
if WITH_VMM
lodge_agent_SOURCES += src/agent/vt_hpc.c src/agent/vt_hpc.h src/agent/vt_hpc_snap.c
endif
lodge_agent_CFLAGS = $(AM_CFLAGS) $(XML2_CFLAGS) $(LIBVIRT_CFLAGS) $(NLROUTE_CFLAGS) $(XXHASH_CFLAGS)
lodge_agent_LDADD = src/ckpt/libckpt.la src/node/libnode.la src/place/libplace.la src/image/libimage.la src/profile/libprofile.la \
    src/proto/libticket.la src/proto/libproto.la src/base/libbase.la \
    $(XML2_LIBS) $(JANSSON_LIBS) $(SYSTEMD_LIBS) $(NLROUTE_LIBS) $(XXHASH_LIBS)
lodge_agent_LDFLAGS = $(AM_LDFLAGS)
if WITH_SANITIZERS
if WITH_LIBVIRT
# The sanitizer stands in for xdr functions that it looks up when the program starts; it
# finds none when libvirt (with libtirpc) comes later by dlopen(), and jumps to 0.
lodge_agent_LDFLAGS += -Wl,--no-as-needed
lodge_agent_LDADD += $(LIBVIRT_LIBS)
endif
endif
