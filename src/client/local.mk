# SPDX-License-Identifier: Apache-2.0
noinst_LTLIBRARIES += src/client/libclient.la
src_client_libclient_la_SOURCES = \
    src/client/agent.c src/client/agent.h
