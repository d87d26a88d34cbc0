# SPDX-License-Identifier: Apache-2.0
noinst_LTLIBRARIES += src/transport/libtransport.la
src_transport_libtransport_la_SOURCES = \
    src/transport/link.c src/transport/link.h \
    src/transport/resolve.c src/transport/resolve.h \
    src/transport/ssh.c \
    src/transport/stream.c \
    src/transport/transport.c src/transport/transport.h
src_transport_libtransport_la_CFLAGS = $(AM_CFLAGS) $(SSH_CFLAGS)
src_transport_libtransport_la_LIBADD = $(SSH_LIBS)

pkglibexec_PROGRAMS += lodge-join
lodge_join_SOURCES = src/transport/join.c
lodge_join_LDADD = src/base/libbase.la

pkglibexec_PROGRAMS += lodge-gate
lodge_gate_SOURCES = src/transport/gate.c src/transport/seal.c src/transport/seal.h
lodge_gate_CFLAGS = $(AM_CFLAGS) $(MUNGE_CFLAGS)
lodge_gate_LDADD = src/proto/libproto.la src/base/libbase.la $(JANSSON_LIBS) $(MUNGE_LIBS)
