# SPDX-License-Identifier: Apache-2.0
noinst_LTLIBRARIES += src/image/libimage.la
src_image_libimage_la_SOURCES = \
    src/image/apt.c \
    src/image/boot.c src/image/boot.h \
    src/image/build.c src/image/build.h src/image/steps.h \
    src/image/cache.c src/image/cache.h \
    src/image/cpio.c src/image/cpio.h \
    src/image/def.c src/image/def.h \
    src/image/def_elements.c src/image/def_read.c src/image/def_read.h src/image/schema.h \
    src/image/describe.c src/image/describe.h \
    src/image/disk.c src/image/disk.h \
    src/image/files.c src/image/files.h \
    src/image/find.c src/image/store.h \
    src/image/hash.c src/image/hash.h \
    src/image/kernel.c src/image/kernel.h \
    src/image/keep.c src/image/keep.h \
    src/image/list.c src/image/list.h \
    src/image/manifest.c src/image/manifest.h \
    src/image/modules.c src/image/modules.h \
    src/image/oci.c src/image/oci.h \
    src/image/output.c \
    src/image/part.c src/image/part.h \
    src/image/pkg.c src/image/pkg.h \
    src/image/port.c src/image/port.h \
    src/image/prune.c \
    src/image/put.c src/image/put.h \
    src/image/root.c \
    src/image/run.c src/image/run.h \
    src/image/sandbox.c src/image/sandbox.h \
    src/image/unpack.c
nodist_src_image_libimage_la_SOURCES = src/image/schema.c
src_image_libimage_la_CFLAGS = $(AM_CFLAGS) $(SODIUM_CFLAGS) $(XML2_CFLAGS) \
    $(ARCHIVE_CFLAGS) $(ZSTD_CFLAGS)
src_image_libimage_la_LIBADD = src/profile/libprofile.la src/base/libbase.la $(SODIUM_LIBS) $(JANSSON_LIBS) \
    $(XML2_LIBS) $(ARCHIVE_LIBS) $(ZSTD_LIBS)
CLEANFILES += src/image/schema.c
src/image/schema.c: $(top_srcdir)/schema/image.xsd $(top_srcdir)/build-aux/text2c
	$(AM_V_GEN)$(MKDIR_P) src/image && $(top_srcdir)/build-aux/text2c \
	    image/schema.h schema_image_xsd $(top_srcdir)/schema/image.xsd >$@.tmp && \
	    mv $@.tmp $@
