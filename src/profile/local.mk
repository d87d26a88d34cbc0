# SPDX-License-Identifier: Apache-2.0
noinst_LTLIBRARIES += src/profile/libprofile.la
src_profile_libprofile_la_SOURCES = \
    src/profile/fields.c src/profile/fields.h \
    src/profile/profile.c src/profile/profile.h
