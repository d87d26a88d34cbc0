/* SPDX-License-Identifier: Apache-2.0 */
/* The host's end of a console port or serial line: {"fd": N}, {"path": P} (a unix socket
 * we listen on, one client at a time; the next one waits), or {"stdio": true}. Owned by
 * one I/O thread; every function but decode, open and close runs there or under its
 * lock. */
#pragma once
#include "vmm/device.h"

#include <sys/types.h>
#include <sys/uio.h>

enum {
    CHARDEV_INPUT = 1,   /* there is something to read, and input was wanted */
    CHARDEV_OUTPUT = 2,  /* writing may go on */
    CHARDEV_CHANGED = 4, /* a client came or went: see connected */
};

struct chardev;
typedef void (*chardev_f)(struct chardev *c, unsigned what);

struct chardev {
    const char *path; /* borrowed */
    int given_fd;
    bool stdio;
    int listen_fd, in, out; /* -1: none; in == out but for stdio */
    bool connected;
    bool in_ended; /* end of file on input; output goes on */
    bool want_input, want_output;
    bool quiet;    /* hung up with bytes unread: not watched until they are wanted */
    bool pollable; /* in and out can be watched (plain files cannot) */
    struct io_watch listen_watch, in_watch, out_watch;
    bool listen_on, in_on, out_on;
    struct io_thread *thread;
    chardev_f ready;
    void *arg;
    void *saved_tty; /* to put back */
};

int chardev_decode(struct chardev *c, json_t *in, const char *what, struct err *err);
/* Set-up: opens, listens. `ready` may be called from now on. */
int chardev_open(struct chardev *c, struct io_thread *t, chardev_f ready, void *arg,
                 struct err *err);
void chardev_close(struct chardev *c);
/* For device_ops.forget: the socket of this back end's configuration. */
void chardev_forget(json_t *in);

/* Bytes taken of `total`; -1: none now, CHARDEV_OUTPUT comes later. Without a client it
 * takes all and drops it. */
ssize_t chardev_write(struct chardev *c, const struct iovec *iov, unsigned n,
                      size_t total);
/* Would chardev_read give something (or find the end)? */
bool chardev_readable(struct chardev *c);
/* Bytes read; 0: the client left; -1: nothing now. */
ssize_t chardev_read(struct chardev *c, const struct iovec *iov, unsigned n);
void chardev_want_input(struct chardev *c, bool on);
