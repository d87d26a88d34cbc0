# SPDX-License-Identifier: Apache-2.0
# The format of checkpoints: lodge-vmm writes and reads it, the agent and the command line
# list and verify it.
noinst_LTLIBRARIES += src/ckpt/libckpt.la
src_ckpt_libckpt_la_SOURCES = \
    src/ckpt/ckpt.c src/ckpt/ckpt.h \
    src/ckpt/index.c src/ckpt/index.h \
    src/ckpt/manifest.c \
    src/ckpt/state.c src/ckpt/state.h \
    src/ckpt/verify.c \
    src/ckpt/writer.c src/ckpt/writer.h
src_ckpt_libckpt_la_CFLAGS = $(AM_CFLAGS) $(ZSTD_CFLAGS) $(XXHASH_CFLAGS)
src_ckpt_libckpt_la_LIBADD = $(ZSTD_LIBS) $(XXHASH_LIBS) $(JANSSON_LIBS)
