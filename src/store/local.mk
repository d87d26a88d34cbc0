# SPDX-License-Identifier: Apache-2.0
store_migrations = $(top_srcdir)/schema/db/0001-documents.sql \
    $(top_srcdir)/schema/db/0002-nodes.sql $(top_srcdir)/schema/db/0003-tickets.sql
EXTRA_DIST += schema/db build-aux/sql2c
noinst_LTLIBRARIES += src/store/libstore.la
src_store_libstore_la_SOURCES = \
    src/store/documents.c src/store/events.c src/store/migrations.h src/store/nodes.c src/store/nodes.h \
    src/store/operations.c src/store/sql.h src/store/steps.c src/store/store.c \
    src/store/store.h src/store/whole.c
nodist_src_store_libstore_la_SOURCES = src/store/migrations.c
src_store_libstore_la_CFLAGS = $(AM_CFLAGS) $(SQLITE_CFLAGS)
CLEANFILES += src/store/migrations.c
src/store/migrations.c: $(store_migrations) $(top_srcdir)/build-aux/sql2c
	$(AM_V_GEN)$(MKDIR_P) src/store && \
	    $(top_srcdir)/build-aux/sql2c $(store_migrations) >$@.tmp && mv $@.tmp $@
