# SPDX-License-Identifier: Apache-2.0
# /init of every guest: no library, no start files, so that it stays a few KiB.
pkglibexec_PROGRAMS += src/guest/lodge-stage1
src_guest_lodge_stage1_SOURCES = src/guest/stage1.c src/guest/stage1-sys.h
src_guest_lodge_stage1_CFLAGS = -std=gnu17 $(WARN_CFLAGS) -ffreestanding -fno-pic \
    -fno-stack-protector -fno-asynchronous-unwind-tables
src_guest_lodge_stage1_LDFLAGS = -nostdlib -static -no-pie -Wl,--build-id=none
