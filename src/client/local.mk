# SPDX-License-Identifier: Apache-2.0
noinst_LTLIBRARIES += src/client/libclient.la
src_client_libclient_la_SOURCES = \
    src/client/agent.c src/client/agent.h \
    src/client/cp.c src/client/cp.h \
    src/client/exec.c src/client/exec.h \
    src/client/relay.h src/client/relay_flow.c src/client/relay_tty.c

# In a task's place; called by the schedulers' plugins (see src/client/exec_main.c).
pkglibexec_PROGRAMS += lodge-exec
lodge_exec_SOURCES = src/client/exec_main.c
lodge_exec_LDADD = src/client/libclient.la src/proto/libproto.la src/base/libbase.la \
    $(JANSSON_LIBS) $(SYSTEMD_LIBS)
