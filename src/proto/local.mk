# SPDX-License-Identifier: Apache-2.0
noinst_LTLIBRARIES += src/proto/libproto.la
src_proto_libproto_la_SOURCES = \
    src/proto/call.c src/proto/call.h \
    src/proto/chan.c src/proto/chan.h src/proto/chan_int.h \
    src/proto/chan_stream.c \
    src/proto/chan_wire.c src/proto/chan_wire.h \
    src/proto/client.c src/proto/client.h \
    src/proto/command.c src/proto/command.h \
    src/proto/rpc.c src/proto/rpc.h \
    src/proto/server.c src/proto/server.h \
    src/proto/tar.h src/proto/tar_int.h src/proto/tar_pack.c src/proto/tar_unpack.c

# Apart, because only what deals with tickets needs libsodium.
noinst_LTLIBRARIES += src/proto/libticket.la
src_proto_libticket_la_SOURCES = \
    src/proto/ticket.c src/proto/ticket.h \
    src/proto/ticket_keys.c src/proto/ticket_keys.h
src_proto_libticket_la_CFLAGS = $(AM_CFLAGS) $(SODIUM_CFLAGS)
src_proto_libticket_la_LIBADD = $(SODIUM_LIBS)
