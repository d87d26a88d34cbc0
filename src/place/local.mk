# SPDX-License-Identifier: Apache-2.0
noinst_LTLIBRARIES += src/place/libplace.la
src_place_libplace_la_SOURCES = src/place/auto.c src/place/auto.h \
    src/place/device.c src/place/device.h src/place/members.c src/place/members.h \
    src/place/memory.c src/place/memory.h src/place/spread.c src/place/spread.h
