/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's event loop; see the header. */
#include "guest/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/list.h"

struct loop {
    int epoll;
    struct list dropped; /* freed at the end of the turn */
};

struct watch {
    struct list in;
    struct loop *loop;
    int fd;
    uint32_t events;
    bool added, dead;
    watch_f call;
    void *arg;
};

int loop_new(struct loop **out, struct err *err)
{
    struct loop *l = calloc(1, sizeof *l);
    if (!l)
        return err_oom(err);
    list_init(&l->dropped);
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll < 0) {
        free(l);
        return err_sys(err, "epoll");
    }
    *out = l;
    return 0;
}

static void sweep(struct loop *l)
{
    struct watch *w, *next;
    list_each_safe (w, next, &l->dropped, in)
        free(w);
    list_init(&l->dropped);
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    sweep(l);
    close(l->epoll);
    free(l);
}

int loop_watch(struct loop *l, int fd, uint32_t events, watch_f call, void *arg,
               struct watch **out, struct err *err)
{
    struct watch *w = calloc(1, sizeof *w);
    if (!w)
        return err_oom(err);
    *w = (struct watch){
        .loop = l, .fd = fd, .events = events, .added = true, .call = call, .arg = arg};
    struct epoll_event ev = {.events = events, .data.ptr = w};
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &ev) < 0) {
        free(w);
        return err_sys(err, "epoll");
    }
    *out = w;
    return 0;
}

void watch_set(struct watch *w, uint32_t events)
{
    if (!w || w->dead || (w->added && w->events == events))
        return;
    struct epoll_event ev = {.events = events, .data.ptr = w};
    if (epoll_ctl(w->loop->epoll, w->added ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, w->fd,
                  &ev) == 0) {
        w->added = true;
        w->events = events;
    }
}

void watch_deaf(struct watch *w)
{
    if (!w || w->dead || !w->added)
        return;
    epoll_ctl(w->loop->epoll, EPOLL_CTL_DEL, w->fd, NULL);
    w->added = false;
}

void watch_drop(struct watch *w)
{
    if (!w || w->dead)
        return;
    watch_deaf(w);
    w->dead = true;
    list_add(&w->loop->dropped, &w->in);
}

int loop_turn(struct loop *l, int timeout_ms, struct err *err)
{
    struct epoll_event ready[32];
    int n = epoll_wait(l->epoll, ready, 32, timeout_ms);
    if (n < 0 && errno != EINTR)
        return err_sys(err, "epoll");
    for (int i = 0; i < n; i++) {
        struct watch *w = ready[i].data.ptr;
        if (!w->dead && w->added)
            w->call(w, ready[i].events, w->arg);
    }
    sweep(l);
    return 0;
}
