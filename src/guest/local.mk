# SPDX-License-Identifier: Apache-2.0
# /init of every guest: no library, no start files, so that it stays a few KiB.
pkglibexec_PROGRAMS += lodge-stage1
lodge_stage1_SOURCES = src/guest/stage1.c src/guest/stage1-sys.h
lodge_stage1_CFLAGS = -std=gnu17 $(WARN_CFLAGS) -ffreestanding -fno-pic \
    -fno-stack-protector -fno-asynchronous-unwind-tables
lodge_stage1_LDFLAGS = -nostdlib -static -no-pie -Wl,--build-id=none -Wl,-s

# One static program for any image: no library of the guest's, no NSS.
pkglibexec_PROGRAMS += lodge-guest
lodge_guest_SOURCES = \
    src/guest/call.c src/guest/call.h \
    src/guest/copy.c src/guest/copy.h \
    src/guest/drivers.c src/guest/drivers.h \
    src/guest/exec.c src/guest/exec.h \
    src/guest/exec_flow.c src/guest/exec_flow.h \
    src/guest/freeze.c \
    src/guest/guest.c src/guest/guest.h \
    src/guest/hostkeys.c src/guest/hostkeys.h \
    src/guest/identity.c src/guest/identity.h \
    src/guest/loop.c src/guest/loop.h \
    src/guest/main.c \
    src/guest/monitor.c src/guest/monitor.h \
    src/guest/net.c \
    src/guest/ops.c \
    src/guest/port.c \
    src/guest/power.c \
    src/guest/program.c src/guest/program.h \
    src/guest/users.c src/guest/users.h
lodge_guest_CFLAGS = $(AM_CFLAGS) -Os -ffunction-sections -fdata-sections
lodge_guest_LDADD = src/proto/libproto.la src/base/libbase.la $(JANSSON_LIBS)
# The sanitizers' own library is shared only; such a build is for tests on the host.
if WITH_SANITIZERS
GUEST_STATIC = $(PIE_LDFLAGS)
else
GUEST_STATIC = -all-static
endif
lodge_guest_LDFLAGS = $(LIBRARY_LDFLAGS) $(GUEST_STATIC) -Wl,--gc-sections -s
