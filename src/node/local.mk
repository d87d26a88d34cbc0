# SPDX-License-Identifier: Apache-2.0
noinst_LTLIBRARIES += src/node/libnode.la
src_node_libnode_la_SOURCES = \
    src/node/facts.c \
    src/node/json.c \
    src/node/judge.c \
    src/node/kvm_guest.c src/node/kvm_guest.h \
    src/node/node.h \
    src/node/probe.h \
    src/node/probe_hardware.c \
    src/node/probe_services.c
