# SPDX-License-Identifier: Apache-2.0
pkglibexec_PROGRAMS += lodge-agent
lodge_agent_SOURCES = \
    src/agent/agent.h \
    src/agent/console.c src/agent/console.h \
    src/agent/facts.c \
    src/agent/guest.c src/agent/guest.h \
    src/agent/identity.c src/agent/identity.h \
    src/agent/life.c src/agent/life.h \
    src/agent/load.c \
    src/agent/main.c \
    src/agent/methods.c \
    src/agent/parts.c src/agent/parts.h \
    src/agent/reclaim.c src/agent/reclaim.h \
    src/agent/reserve.c src/agent/reserve.h \
    src/agent/sock.c src/agent/sock.h \
    src/agent/stage.c src/agent/stage.h \
    src/agent/state.c src/agent/state.h \
    src/agent/vm.c src/agent/vm.h \
    src/agent/vt.c src/agent/vt.h \
    src/agent/vt_fake.c \
    src/agent/work.c src/agent/work.h
lodge_agent_LDADD = src/place/libplace.la src/image/libimage.la src/profile/libprofile.la \
    src/proto/libticket.la src/proto/libproto.la src/base/libbase.la \
    $(JANSSON_LIBS) $(SYSTEMD_LIBS)
