# SPDX-License-Identifier: Apache-2.0
bin_PROGRAMS += lodge
lodge_SOURCES = src/cli/main.c src/cli/nouns.c src/cli/nouns.h src/cli/cli.h \
    src/cli/call.c src/cli/complete.c src/cli/image.c src/cli/names.c src/cli/node.c src/cli/op.c src/cli/out.c
lodge_CFLAGS = $(AM_CFLAGS) $(SMARTCOLS_CFLAGS)
lodge_LDADD = src/image/libimage.la $(CONTROLLER_LIBS) src/node/libnode.la src/proto/libproto.la src/base/libbase.la \
    $(SMARTCOLS_LIBS) $(JANSSON_LIBS) $(SYSTEMD_LIBS)
