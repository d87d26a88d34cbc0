/* SPDX-License-Identifier: Apache-2.0 */
/* I/O threads: each an epoll loop that calls watches one at a time under its lock. It
 * sleeps until a descriptor is ready: no timer, no poll. Parks between two callbacks. */
#include "vmm/vm.h"

#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { BATCH = 16 };

struct io_thread *vm_io_thread(struct vm *vm, unsigned n)
{
    return &vm->io[n % vm->nio];
}

int io_watch_add(struct io_thread *t, struct io_watch *w, uint32_t events,
                 struct err *err)
{
    struct epoll_event e = {.events = events, .data.ptr = w};
    if (epoll_ctl(t->epoll, EPOLL_CTL_ADD, w->fd, &e) < 0)
        return err_sys(err, "watch descriptor %d", w->fd);
    w->thread = t;
    return 0;
}

int io_watch_mod(struct io_watch *w, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = w};
    return w->thread ? epoll_ctl(w->thread->epoll, EPOLL_CTL_MOD, w->fd, &e) : -1;
}

void io_watch_del(struct io_watch *w)
{
    struct io_thread *t = w->thread;
    if (!t)
        return;
    epoll_ctl(t->epoll, EPOLL_CTL_DEL, w->fd, NULL);
    for (int i = 0; i < t->nbatch; i++)
        if (t->batch[i] == w)
            t->batch[i] = NULL;
    w->thread = NULL;
}

void io_lock(struct io_thread *t)
{
    pthread_mutex_lock(&t->lock);
}

void io_unlock(struct io_thread *t)
{
    pthread_mutex_unlock(&t->lock);
}

/* The events of one wait. The batch is what io_watch_del may strike from. */
static void dispatch(struct io_thread *t, const struct epoll_event *got, int n)
{
    struct io_watch *batch[BATCH];
    for (int i = 0; i < n; i++)
        batch[i] = got[i].data.ptr;
    pthread_mutex_lock(&t->lock);
    t->batch = batch;
    t->nbatch = n;
    for (int i = 0; i < n; i++)
        if (batch[i])
            batch[i]->ready(batch[i], got[i].events);
    t->nbatch = 0;
    pthread_mutex_unlock(&t->lock);
}

/* What the guest gave us before its end still goes out: no vCPU runs any more, so this
 * comes to an end but for a peer that keeps talking. */
static void last_words(struct io_thread *t)
{
    enum { ROUNDS = 64 };
    struct epoll_event got[BATCH];
    for (int i = 0; i < ROUNDS; i++) {
        int n = epoll_wait(t->epoll, got, BATCH, 0);
        if (n <= 0)
            return;
        dispatch(t, got, n);
    }
}

static void *loop(void *arg)
{
    struct io_thread *t = arg;
    struct vm *vm = t->vm;
    for (;;) {
        int want = atomic_load(&vm->want);
        if (want == WANT_EXIT) {
            last_words(t);
            return NULL;
        }
        if (want == WANT_PARK) {
            vm_park(vm, &t->parked);
            continue;
        }
        struct epoll_event got[BATCH];
        int n = epoll_wait(t->epoll, got, BATCH, -1);
        if (n < 0 && errno != EINTR)
            _exit(70);
        /* Asked to park meanwhile: what is ready stays ready. */
        if (n <= 0 || atomic_load(&vm->want) != WANT_RUN)
            continue;
        dispatch(t, got, n);
    }
}

static void woken(struct io_watch *w, uint32_t events)
{
    uint64_t count;
    if (read(w->fd, &count, sizeof count) < 0)
        return;
}

int io_init(struct vm *vm, struct err *err)
{
    vm->nio = vm->config->io_threads;
    vm->io = calloc(vm->nio, sizeof *vm->io);
    if (!vm->io)
        return err_oom(err);
    for (unsigned i = 0; i < vm->nio; i++)
        vm->io[i] = (struct io_thread){.vm = vm, .index = i, .epoll = -1, .wake = -1};
    for (unsigned i = 0; i < vm->nio; i++) {
        struct io_thread *t = &vm->io[i];
        pthread_mutex_init(&t->lock, NULL);
        t->epoll = epoll_create1(EPOLL_CLOEXEC);
        t->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        t->wake_watch = (struct io_watch){.fd = t->wake, .ready = woken};
        if (t->epoll < 0 || t->wake < 0)
            return err_sys(err, "I/O thread");
        if (io_watch_add(t, &t->wake_watch, EPOLLIN, err) < 0)
            return -1;
    }
    return 0;
}

struct start {
    struct vm *vm;
    char name[16];
    void *(*fn)(void *);
    void *arg;
};

static void *enter(void *arg)
{
    struct start s = *(struct start *)arg;
    free(arg);
    prctl(PR_SET_NAME, s.name); /* itself: in the sandbox there is no /proc */
    if (sandbox_thread(s.vm, SANDBOX_IO) < 0)
        _exit(70);
    return s.fn(s.arg);
}

int vm_thread(struct vm *vm, const char *name, void *(*fn)(void *), void *arg,
              pthread_t *out, struct err *err)
{
    pthread_attr_t attr;
    sigset_t all, old;
    struct start *s = malloc(sizeof *s);
    if (!s)
        return err_oom(err);
    *s = (struct start){.vm = vm, .fn = fn, .arg = arg};
    snprintf(s->name, sizeof s->name, "%s", name);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 256 << 10);
    if (CPU_COUNT(&vm->config->cpu.io_pin) > 0)
        pthread_attr_setaffinity_np(&attr, sizeof(cpu_set_t), &vm->config->cpu.io_pin);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int e = pthread_create(out, &attr, enter, s);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    if (e != 0) {
        free(s);
        errno = e;
        return err_sys(err, "thread '%s'", name);
    }
    return 0;
}

int io_start(struct vm *vm, struct err *err)
{
    for (unsigned i = 0; i < vm->nio; i++) {
        struct io_thread *t = &vm->io[i];
        char name[16];
        snprintf(name, sizeof name, "io%u", i);
        if (vm_thread(vm, name, loop, t, &t->thread, err) < 0)
            return -1;
        t->started = true;
    }
    return 0;
}

void io_wake(struct vm *vm)
{
    uint64_t one = 1;
    for (unsigned i = 0; i < vm->nio; i++)
        if (write(vm->io[i].wake, &one, sizeof one) < 0)
            continue; /* full: awake already */
}

void io_join(struct vm *vm)
{
    for (unsigned i = 0; vm->io && i < vm->nio; i++)
        if (vm->io[i].started) {
            pthread_join(vm->io[i].thread, NULL);
            vm->io[i].started = false;
        }
}

void io_done(struct vm *vm)
{
    for (unsigned i = 0; vm->io && i < vm->nio; i++) {
        if (vm->io[i].epoll >= 0)
            close(vm->io[i].epoll);
        if (vm->io[i].wake >= 0)
            close(vm->io[i].wake);
    }
    free(vm->io);
    vm->io = NULL;
}
