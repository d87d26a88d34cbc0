/* SPDX-License-Identifier: Apache-2.0 */
/* A byte stream to the agent of a node, on sd-event. Kinds are rows of one table: ssh
 * (libssh, a subsystem that joins the agent's socket), exec (any program that joins its
 * stdin and stdout to it: tests, sites that prefer their own ssh), unix (the agent of
 * this machine). Nothing here blocks the loop: names are resolved in a child. */
#pragma once
#include "base/err.h"
#include "base/own.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

/* Where to. Strings are borrowed until transport_open() returns; what a kind does not
 * need may be NULL. */
struct transport_spec {
    const char *kind;        /* "ssh", "exec", "unix" */
    const char *host;        /* ssh: name or address */
    uint16_t port;           /* ssh: 0 is 22 */
    const char *user;        /* ssh: NULL is root */
    const char *identity;    /* ssh: private key file, without a passphrase */
    const char *known_hosts; /* ssh: OpenSSH's format; the host's key must be there */
    const char *subsystem;   /* ssh: NULL is "lodge" */
    const char *const *argv; /* exec */
    const char *path;        /* unix: NULL is this machine's agent.sock */
    /* A transport whose connection may be shared (ssh: one more channel); else ignored.
     */
    const struct transport *over;
};

/* What the stream tells. After `down` nothing more comes; the transport must still be
 * closed. A callback may call transport_close(). */
struct transport_callbacks {
    void (*up)(void *arg);
    void (*data)(const void *data, size_t len, void *arg);
    void (*down)(const struct err *why, void *arg);
    /* All that was queued is on its way. May be NULL. */
    void (*drained)(void *arg);
};

struct transport;

/* Begin to connect. Fails at once only for what is wrong with the spec; all else comes
 * by `down`. */
int transport_open(sd_event *event, const struct transport_spec *spec,
                   const struct transport_callbacks *callbacks, void *arg,
                   struct transport **out, struct err *err);
/* Queue bytes; E_BUSY, and nothing queued, when the other end has let 8 MiB pile up. */
int transport_send(struct transport *t, const void *data, size_t len, struct err *err);
/* Bytes queued and not on their way: who relays stops reading its other side by this.
 */
size_t transport_pending(const struct transport *t);
/* Bytes that went on their way so far: it grows as long as the other end takes some. */
uint64_t transport_progress(const struct transport *t);
/* Let data wait at the other end (on), or take it again. */
void transport_pause(struct transport *t, bool on);
/* NULL is fine. No callback comes any more. */
void transport_close(struct transport *t);

/* --- for the kinds ------------------------------------------------------------------
 */

struct transport_ops {
    const char *name;
    int (*open)(struct transport *t, const struct transport_spec *spec,
                struct err *err);
    /* Send what is in t->out, as far as it goes now. */
    void (*flush)(struct transport *t);
    void (*pause)(struct transport *t, bool on);
    void (*close)(struct transport *t);
};
extern const struct transport_ops transport_ssh, transport_exec, transport_unix;

#include "base/str.h"

enum { TRANSPORT_OUT_MAX = 8 << 20 };

struct transport {
    const struct transport_ops *ops;
    sd_event *event;
    struct transport_callbacks cb;
    void *arg;
    struct str_buf out; /* from out_at on: not sent yet */
    size_t out_at;
    uint64_t sent; /* bytes on their way since it was opened */
    bool is_down, in_callback, closed;
    void *kind; /* the kind's own state */
};

void transport_is_up(struct transport *t);
void transport_got(struct transport *t, const void *data, size_t len);
void transport_is_down(struct transport *t, const struct err *why);
/* n bytes of t->out are on their way. */
void transport_sent(struct transport *t, size_t n);

/* A stream over one nonblocking descriptor, shared by exec and unix. Takes fd. */
int transport_stream_open(struct transport *t, int fd, struct err *err);
void transport_stream_flush(struct transport *t);
void transport_stream_pause(struct transport *t, bool on);
void transport_stream_close(struct transport *t);
