# SPDX-License-Identifier: Apache-2.0
noinst_LTLIBRARIES += src/image/libimage.la
src_image_libimage_la_SOURCES = \
    src/image/def.c src/image/def.h \
    src/image/files.c src/image/files.h \
    src/image/find.c src/image/store.h \
    src/image/hash.c src/image/hash.h \
    src/image/manifest.c src/image/manifest.h
src_image_libimage_la_CFLAGS = $(AM_CFLAGS) $(SODIUM_CFLAGS) $(XML2_CFLAGS)
src_image_libimage_la_LIBADD = src/base/libbase.la $(SODIUM_LIBS) $(XML2_LIBS) $(JANSSON_LIBS)
