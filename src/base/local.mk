# SPDX-License-Identifier: Apache-2.0
noinst_LTLIBRARIES += src/base/libbase.la
src_base_libbase_la_SOURCES = \
    src/base/base64.c src/base/base64.h \
    src/base/clock.c src/base/clock.h \
    src/base/conf.c src/base/conf.h \
    src/base/crc32c.c src/base/crc32c.h \
    src/base/dirs.c src/base/dirs.h \
    src/base/err.c src/base/err.h \
    src/base/fd.c src/base/fd.h \
    src/base/hostlist.c src/base/hostlist.h \
    src/base/list.h \
    src/base/log.c src/base/log.h \
    src/base/own.h \
    src/base/proc.c src/base/proc.h \
    src/base/str.c src/base/str.h
