# SPDX-License-Identifier: Apache-2.0
# The plugin takes sources, not libraries: sbatch shall load nothing it does not need.
spankdir = $(libdir)/lodge
spank_LTLIBRARIES = plugins/slurm/lodge.la
plugins_slurm_lodge_la_SOURCES = \
    plugins/slurm/cgroups.c plugins/slurm/fault.h plugins/slurm/lodge.c plugins/slurm/node.c \
    plugins/slurm/options.c plugins/slurm/plugin.h plugins/slurm/record.c \
    plugins/slurm/request.c plugins/slurm/submit.c plugins/slurm/task.c \
    src/proto/client.c src/proto/rpc.c \
    src/base/clock.c src/base/err.c src/base/fd.c src/base/proc.c src/base/str.c
plugins_slurm_lodge_la_CPPFLAGS = $(AM_CPPFLAGS) -DLODGE_BINDIR='"$(bindir)"'
plugins_slurm_lodge_la_LDFLAGS = $(LIBRARY_LDFLAGS) -module -avoid-version -shared \
    -Wl,--version-script=$(srcdir)/plugins/slurm/plugin.map
plugins_slurm_lodge_la_LIBADD = $(JANSSON_LIBS)
plugins_slurm_lodge_la_DEPENDENCIES = plugins/slurm/plugin.map
EXTRA_DIST += plugins/slurm/plugin.map

pkglibexec_PROGRAMS += lodge-slurm
lodge_slurm_SOURCES = plugins/slurm/fault.h plugins/slurm/slurm-helper.c \
    src/proto/client.c src/proto/rpc.c \
    src/base/clock.c src/base/err.c src/base/fd.c src/base/proc.c src/base/str.c
lodge_slurm_CPPFLAGS = $(AM_CPPFLAGS)
lodge_slurm_LDADD = $(JANSSON_LIBS)

EXTRA_DIST += docs/lodge-slurm.8.adoc
man_MANS += docs/lodge-slurm.8
CLEANFILES += docs/lodge-slurm.8
