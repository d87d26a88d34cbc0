# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += test/unit/image.tap
test_unit_image_tap_SOURCES = test/unit/image.c test/unit/unit.h
test_unit_image_tap_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) $(XML2_CFLAGS)
test_unit_image_tap_LDADD = src/image/libimage.la $(CMOCKA_LIBS)
dist_check_SCRIPTS += test/t1010-image.t test/t2010-clones.t
TESTS += test/t1010-image.t test/t2010-clones.t
