# SPDX-License-Identifier: Apache-2.0
noinst_LTLIBRARIES += src/client/libclient.la
src_client_libclient_la_SOURCES = \
    src/client/agent.c src/client/agent.h \
    src/client/call.c src/client/call.h \
    src/client/cp.c src/client/cp.h \
    src/client/exec.c src/client/exec.h \
    src/client/relay.h src/client/relay_flow.c src/client/relay_tty.c

# What an srun in type fake finds first in its PATH; in guests lodge-guest makes the link.
all-local: calls/srun
calls/srun: lodge-guest
	$(AM_V_GEN)$(MKDIR_P) calls && rm -f $@ && ln -s ../lodge-guest $@
CLEANFILES += calls/srun
install-exec-hook: install-calls
install-calls:
	$(MKDIR_P) $(DESTDIR)$(pkglibexecdir)/calls
	rm -f $(DESTDIR)$(pkglibexecdir)/calls/srun
	$(LN_S) ../lodge-guest $(DESTDIR)$(pkglibexecdir)/calls/srun
uninstall-hook: uninstall-calls
uninstall-calls:
	rm -f $(DESTDIR)$(pkglibexecdir)/calls/srun
	-rmdir $(DESTDIR)$(pkglibexecdir)/calls

# In a task's place; called by the schedulers' plugins (see src/client/exec_main.c).
pkglibexec_PROGRAMS += lodge-exec
lodge_exec_SOURCES = src/client/exec_main.c
lodge_exec_LDADD = src/client/libclient.la src/proto/libproto.la src/base/libbase.la \
    $(JANSSON_LIBS) $(SYSTEMD_LIBS)
