# SPDX-License-Identifier: Apache-2.0
bin_PROGRAMS += lodge
lodge_SOURCES = src/cli/main.c src/cli/nouns.c src/cli/cli.h
lodge_LDADD = src/proto/libproto.la src/base/libbase.la $(JANSSON_LIBS) $(SYSTEMD_LIBS)
