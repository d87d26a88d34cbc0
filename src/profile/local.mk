# SPDX-License-Identifier: Apache-2.0
noinst_LTLIBRARIES += src/profile/libprofile.la
src_profile_libprofile_la_SOURCES = \
    src/profile/check.c src/profile/document.h \
    src/profile/cluster.c src/profile/cluster.h \
    src/profile/cluster_check.c src/profile/cluster_check.h \
    src/profile/fields.c src/profile/fields.h \
    src/profile/parse.c \
    src/profile/problems.c src/profile/problems.h \
    src/profile/profile.c src/profile/profile.h \
    src/profile/schemas.h \
    src/profile/types.c src/profile/types.h \
    src/profile/walk.c src/profile/write.c \
    src/profile/xml.c src/profile/xml.h
nodist_src_profile_libprofile_la_SOURCES = src/profile/schemas.c
src_profile_libprofile_la_CFLAGS = $(AM_CFLAGS) $(XML2_CFLAGS)
src_profile_libprofile_la_LIBADD = $(XML2_LIBS)
EXTRA_DIST += build-aux/text2c
CLEANFILES += src/profile/schemas.c
src/profile/schemas.c: $(top_srcdir)/schema/profile.xsd $(top_srcdir)/build-aux/text2c
	$(AM_V_GEN)$(MKDIR_P) src/profile && $(top_srcdir)/build-aux/text2c \
	    profile/schemas.h schema_profile_xsd $(top_srcdir)/schema/profile.xsd >$@.tmp && \
	    mv $@.tmp $@
