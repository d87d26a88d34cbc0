# SPDX-License-Identifier: Apache-2.0
noinst_LTLIBRARIES += src/client/libclient.la
src_client_libclient_la_SOURCES = \
    src/client/agent.c src/client/agent.h \
    src/client/call.c src/client/call.h \
    src/client/controller.c src/client/controller.h \
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

# For other programs: few functions, text in and out, see src/client/lodge.h. It takes sources,
# not libraries, so that nothing is loaded that it does not need.
lib_LTLIBRARIES += src/client/liblodge.la
src_client_liblodge_la_SOURCES = src/client/lodge.c \
    src/client/agent.c src/client/controller.c src/proto/client.c src/proto/rpc.c \
    src/base/clock.c src/base/conf.c src/base/dirs.c src/base/err.c src/base/fd.c \
    src/base/proc.c src/base/str.c
src_client_liblodge_la_LDFLAGS = $(LIBRARY_LDFLAGS) -version-info 0:0:0 \
    -Wl,--version-script=$(srcdir)/src/client/liblodge.map
src_client_liblodge_la_LIBADD = $(JANSSON_LIBS)
src_client_liblodge_la_DEPENDENCIES = src/client/liblodge.map
include_HEADERS += src/client/lodge.h
pkgconfigdir = $(libdir)/pkgconfig
pkgconfig_DATA = src/client/lodge.pc
src/client/lodge.pc: $(srcdir)/src/client/lodge.pc.in Makefile
	$(AM_V_GEN)$(MKDIR_P) src/client && sed -e 's,@prefix\@,$(prefix),' -e 's,@libdir\@,$(libdir),' \
	    -e 's,@includedir\@,$(includedir),' -e 's,@VERSION\@,$(VERSION),' \
	    $(srcdir)/src/client/lodge.pc.in >$@
CLEANFILES += $(pkgconfig_DATA)
exampledir = $(docdir)/examples
dist_example_DATA = src/client/example.c
EXTRA_DIST += src/client/liblodge.map src/client/lodge.pc.in
dist_check_SCRIPTS += test/t0304-client.t
TESTS += test/t0304-client.t
