# SPDX-License-Identifier: Apache-2.0
noinst_LTLIBRARIES += src/controller/libcontroller.la
src_controller_libcontroller_la_SOURCES = \
    src/controller/dispatch.c src/controller/dispatch.h \
    src/controller/document.c src/controller/document.h \
    src/controller/events.c \
    src/controller/handlers.h \
    src/controller/hub.c src/controller/hub.h \
    src/controller/hub_spec.c \
    src/controller/image.c \
    src/controller/node.c \
    src/controller/op.c \
    src/controller/relay.c src/controller/relay.h \
    src/controller/site.c src/controller/site.h \
    src/controller/ticket.c
# What a program needs that links libcontroller.la, besides libproto and libbase.
CONTROLLER_LIBS = src/controller/libcontroller.la src/store/libstore.la \
    src/proto/libticket.la src/image/libimage.la src/transport/libtransport.la \
    src/place/libplace.la src/profile/libprofile.la $(SQLITE_LIBS) $(XML2_LIBS)

sbin_PROGRAMS += lodged
lodged_SOURCES = \
    src/controller/book.c src/controller/book.h \
    src/controller/claims.c src/controller/claims.h \
    src/controller/live.c \
    src/controller/live_vm.c \
    src/controller/lodged.h \
    src/controller/live_image.c \
    src/controller/main.c \
    src/controller/push.c src/controller/push.h \
    src/controller/runner.c src/controller/runner.h src/controller/runner_int.h \
    src/controller/runner_op.c \
    src/controller/runner_send.c \
    src/controller/step.c \
    src/controller/vm_plan.c src/controller/vm_plan.h
lodged_LDADD = $(CONTROLLER_LIBS) src/place/libplace.la src/proto/libproto.la \
    src/base/libbase.la $(JANSSON_LIBS) $(SYSTEMD_LIBS)
