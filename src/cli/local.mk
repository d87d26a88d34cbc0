# SPDX-License-Identifier: Apache-2.0
bin_PROGRAMS += lodge
lodge_SOURCES = \
    src/cli/call.c \
    src/cli/ckpt.c src/cli/ckpt.h src/cli/ckpt_make.c src/cli/ckpt_verify.c \
    src/cli/cli.h \
    src/cli/cluster.c \
    src/cli/cluster_run.c src/cli/cluster_run.h \
    src/cli/complete.c \
    src/cli/doc.c src/cli/document.c src/cli/document.h \
    src/cli/document_change.c \
    src/cli/explain.c src/cli/explain.h \
    src/cli/image.c src/cli/image.h \
    src/cli/image_freeze.c \
    src/cli/image_port.c src/cli/image_push.c src/cli/events.c \
    src/cli/main.c \
    src/cli/names.c \
    src/cli/node.c \
    src/cli/node_enrol.c \
    src/cli/node_site.c src/cli/node_site.h \
    src/cli/nouns.c src/cli/nouns.h \
    src/cli/op.c \
    src/cli/fit.c src/cli/fit.h src/cli/out.c \
    src/cli/profile.c \
    src/cli/run.c \
    src/cli/site.c \
    src/cli/store.c \
    src/cli/ticket.c \
    src/cli/vm.c src/cli/vm.h \
    src/cli/vm_console.c \
    src/cli/vm_exec.c \
    src/cli/vm_make.c \
    src/cli/vm_top.c
lodge_CFLAGS = $(AM_CFLAGS) $(SMARTCOLS_CFLAGS) $(XXHASH_CFLAGS) $(ZSTD_CFLAGS)
lodge_LDADD = src/client/libclient.la src/image/libimage.la $(CONTROLLER_LIBS) src/node/libnode.la \
    src/place/libplace.la src/proto/libproto.la src/base/libbase.la \
    src/ckpt/libckpt.la $(SMARTCOLS_LIBS) $(JANSSON_LIBS) $(SYSTEMD_LIBS) $(XXHASH_LIBS) $(ZSTD_LIBS)
bashcompletiondir = $(datadir)/bash-completion/completions
zshcompletiondir = $(datadir)/zsh/site-functions
dist_zshcompletion_DATA = src/cli/completion/_lodge
EXTRA_DIST += src/cli/completion/lodge.bash
install-data-hook: install-bash-completion
install-bash-completion:
	$(MKDIR_P) '$(DESTDIR)$(bashcompletiondir)'
	$(INSTALL_DATA) $(srcdir)/src/cli/completion/lodge.bash \
	    '$(DESTDIR)$(bashcompletiondir)/lodge'
uninstall-hook: uninstall-bash-completion
uninstall-bash-completion:
	rm -f '$(DESTDIR)$(bashcompletiondir)/lodge'
.PHONY: install-bash-completion uninstall-bash-completion
