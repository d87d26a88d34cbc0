/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's event loop: epoll, and one moment to wake up at. Small on purpose: the
 * program must stay one static file without libraries of the image's. */
#pragma once
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct loop;
/* A watched descriptor. It may be dropped at any time, also by its own callback. */
struct watch;
typedef void (*watch_f)(struct watch *w, uint32_t events, void *arg);

int loop_new(struct loop **out, struct err *err);
void loop_free(struct loop *l);
int loop_watch(struct loop *l, int fd, uint32_t events, watch_f call, void *arg,
               struct watch **out, struct err *err);
/* EPOLLHUP and EPOLLERR come always: to hear nothing at all, watch_deaf(); the next
 * watch_set() ends that. */
void watch_set(struct watch *w, uint32_t events);
void watch_deaf(struct watch *w);
/* Forget it; the descriptor stays the caller's. NULL is fine. */
void watch_drop(struct watch *w);
/* Wait at most timeout_ms (-1: for ever), call what is ready. */
int loop_turn(struct loop *l, int timeout_ms, struct err *err);
