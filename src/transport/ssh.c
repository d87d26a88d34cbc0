/* SPDX-License-Identifier: Apache-2.0 */
/* Kind ssh: libssh without blocking. One connection carries one channel a transport:
 * the first opens it, later ones name it in spec->over, so that a console costs no
 * second login. Keys only; the host's key must already be known; no configuration file
 * but ours is read.
 *
 * libssh may read packets of any channel whenever it is called, so every call is
 * followed by a walk over all channels: from the socket's event, or from `again`
 * otherwise. */
#include "transport/transport.h"

#include <libssh/libssh.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "transport/resolve.h"

enum conn_step { CONN_RESOLVE, CONN_HANDSHAKE, CONN_LOGIN, CONN_READY, CONN_DOWN };
enum chan_step { CHAN_OPEN, CHAN_SUBSYSTEM, CHAN_COMMAND, CHAN_UP, CHAN_DOWN };

struct conn {
    unsigned refs; /* one a channel, one while walking */
    enum conn_step step;
    sd_event *event;
    struct resolve *resolve;
    sd_event_source *io, *again;
    ssh_session session;
    ssh_key key;
    char *host;
    int fd; /* the session's, once connected */
    struct list chans;
    unsigned walk; /* number of the walk under way */
};

struct chan {
    struct list in; /* conn->chans */
    struct transport *t;
    struct conn *conn;
    enum chan_step step;
    ssh_channel channel;
    char *subsystem;
    bool joined; /* the subsystem was there */
    bool paused;
    unsigned walk; /* last walk that came by */
};

static void conn_unref(struct conn *c)
{
    if (!c || --c->refs)
        return;
    resolve_free(c->resolve);
    sd_event_source_disable_unref(c->io);
    sd_event_source_disable_unref(c->again);
    ssh_key_free(c->key);
    if (c->session) {
        ssh_silent_disconnect(c->session); /* closes the descriptor, waits for nobody */
        ssh_free(c->session);
    }
    sd_event_unref(c->event);
    free(c->host);
    free(c);
}

static void chan_fail(struct chan *ch, const struct err *why)
{
    ch->step = CHAN_DOWN;
    transport_is_down(ch->t, why);
}

static struct err failure(struct conn *c, enum err_code code, const char *what)
{
    struct err err;
    const char *detail = c->session ? ssh_get_error(c->session) : "";
    err_set(&err, code, "%s: %s%s%s", c->host, what, *detail ? ": " : "", detail);
    return err;
}

/* The next channel that walk number c->walk has not seen; NULL after the last.
 * Callbacks may close any channel, so no pointer is kept from one to the next. */
static struct chan *next_chan(struct conn *c)
{
    struct chan *ch;
    list_each (ch, &c->chans, in)
        if (ch->walk != c->walk) {
            ch->walk = c->walk;
            return ch;
        }
    return NULL;
}

static void conn_fail(struct conn *c, const struct err *why)
{
    struct chan *ch;
    c->step = CONN_DOWN;
    c->io = sd_event_source_disable_unref(c->io);
    c->refs++;
    c->walk++;
    while ((ch = next_chan(c)))
        chan_fail(ch, why);
    conn_unref(c);
}

/* Each step gives 1: go on to the next; 0: wait for the socket; -1: *why is set. */
static int handshake(struct conn *c, struct err *why)
{
    int r = ssh_connect(c->session);
    if (r == SSH_AGAIN)
        return 0;
    if (r != SSH_OK) {
        *why = failure(c, E_HOST, "no SSH connection");
        return -1;
    }
    switch (ssh_session_is_known_server(c->session)) {
    case SSH_KNOWN_HOSTS_OK:
        return 1;
    case SSH_KNOWN_HOSTS_CHANGED:
    case SSH_KNOWN_HOSTS_OTHER:
        return err_set(why, E_PERM,
                       "%s: the host key is not the known one: if the node was "
                       "reinstalled, give its new key by 'lodge node add --host-key "
                       "FILE', else somebody is in between",
                       c->host);
    default:
        return err_set(why, E_PERM,
                       "%s: the host key is not known; give it by 'lodge node add "
                       "--host-key FILE'",
                       c->host);
    }
}

static int login(struct conn *c, struct err *why)
{
    int r = ssh_userauth_publickey(c->session, NULL, c->key);
    if (r == SSH_AUTH_AGAIN)
        return 0;
    if (r == SSH_AUTH_SUCCESS)
        return 1;
    *why = failure(c, E_PERM, "the node does not accept the controller's key");
    return -1;
}

static int open_channel(struct chan *ch, struct err *why)
{
    struct conn *c = ch->conn;
    if (!ch->channel && !(ch->channel = ssh_channel_new(c->session)))
        return err_oom(why);
    int r = ssh_channel_open_session(ch->channel);
    if (r == SSH_AGAIN)
        return 0;
    if (r == SSH_OK)
        return 1;
    *why = failure(c, E_HOST, "no SSH channel");
    return -1;
}

/* 1 also when it was refused: then the next step asks another way. */
static int subsystem(struct chan *ch, struct err *why)
{
    int r = ssh_channel_request_subsystem(ch->channel, ch->subsystem);
    ch->joined = r == SSH_OK;
    return r == SSH_AGAIN ? 0 : 1;
}

/* A key that is tied to a command (command="...lodge-join" in authorized_keys) gets that
 * command whatever is asked for; sshd finds no subsystem then. */
static int command(struct chan *ch, struct err *why)
{
    int r = ch->joined ? SSH_OK : ssh_channel_request_exec(ch->channel, "lodge-join");
    if (r == SSH_AGAIN)
        return 0;
    if (r == SSH_OK)
        return 1;
    return err_set(
        why, E_UNAVAIL,
        "%s: the node's sshd has no subsystem '%s' and no command for this key; "
        "see node-setup.txt of 'lodge site init'",
        ch->conn->host, ch->subsystem);
}

static void chan_read(struct chan *ch)
{
    char part[32768];
    struct transport *t = ch->t;
    while (ch->step == CHAN_UP && !ch->paused && !t->closed) {
        int n = ssh_channel_read_nonblocking(ch->channel, part, sizeof part, 0);
        if (n > 0) {
            transport_got(t, part, n);
            continue;
        }
        if (n == SSH_ERROR || n == SSH_EOF || ssh_channel_is_eof(ch->channel) ||
            ssh_channel_is_closed(ch->channel) ||
            !ssh_is_connected(ch->conn->session)) {
            struct err why;
            err_set(&why, E_HOST, "%s: the connection was closed", ch->conn->host);
            chan_fail(ch, &why);
        }
        return;
    }
}

static void chan_write(struct chan *ch)
{
    struct transport *t = ch->t;
    while (ch->step == CHAN_UP && t->out_at < t->out.len) {
        size_t left = t->out.len - t->out_at;
        int n = ssh_channel_write(ch->channel, t->out.data + t->out_at,
                                  left < 32768 ? left : 32768);
        if (n <= 0)
            break; /* no window now; a broken one is told by the read side */
        transport_sent(t, n);
    }
}

static void chan_walk(struct chan *ch)
{
    static int (*const steps[])(struct chan *,
                                struct err *) = {[CHAN_OPEN] = open_channel,
                                                 [CHAN_SUBSYSTEM] = subsystem,
                                                 [CHAN_COMMAND] = command};
    struct transport *t = ch->t;
    while (ch->step < CHAN_UP) {
        struct err why;
        int r = steps[ch->step](ch, &why);
        if (r < 0)
            chan_fail(ch, &why);
        if (r <= 0)
            return;
        if (++ch->step == CHAN_UP)
            transport_is_up(t);
    }
    if (!t->closed)
        chan_read(ch);
    if (!t->closed)
        chan_write(ch);
}

static void conn_walk(struct conn *c)
{
    static int (*const steps[])(struct conn *, struct err *) = {
        [CONN_HANDSHAKE] = handshake, [CONN_LOGIN] = login};
    while (c->step == CONN_HANDSHAKE || c->step == CONN_LOGIN) {
        struct err why;
        int r = steps[c->step](c, &why);
        if (r < 0)
            conn_fail(c, &why);
        if (r <= 0)
            break;
        c->step++;
    }
    c->refs++;
    c->walk++;
    struct chan *ch;
    while (c->step == CONN_READY && (ch = next_chan(c)))
        chan_walk(ch);
    if (c->io) {
        bool pending = ssh_get_poll_flags(c->session) & SSH_WRITE_PENDING;
        sd_event_source_set_io_events(c->io, EPOLLIN | (pending ? EPOLLOUT : 0));
    }
    conn_unref(c);
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *arg)
{
    conn_walk(arg);
    return 0;
}

static int on_again(sd_event_source *source, void *arg)
{
    conn_walk(arg);
    return 0;
}

static void walk_soon(struct conn *c)
{
    if (c->step != CONN_DOWN && c->step != CONN_RESOLVE)
        sd_event_source_set_enabled(c->again, SD_EVENT_ONESHOT);
}

static void on_resolved(int fd, const struct err *err, void *arg)
{
    struct conn *c = arg;
    if (fd < 0) {
        conn_fail(c, err);
        return;
    }
    c->fd = fd;
    ssh_options_set(c->session, SSH_OPTIONS_FD, &c->fd);
    if (sd_event_add_io(c->event, &c->io, fd, EPOLLIN, on_io, c) < 0) {
        struct err why = failure(c, E_SYS, "event");
        conn_fail(c, &why);
        return;
    }
    c->step = CONN_HANDSHAKE;
    conn_walk(c);
}

static int set_options(struct conn *c, const struct transport_spec *spec,
                       struct err *err)
{
    int no = 0;
    unsigned port = spec->port ? spec->port : 22;
    const char *user = spec->user ? spec->user : "root", *known = spec->known_hosts;
    if (ssh_options_set(c->session, SSH_OPTIONS_PROCESS_CONFIG, &no) < 0 ||
        ssh_options_set(c->session, SSH_OPTIONS_HOST, spec->host) < 0 ||
        ssh_options_set(c->session, SSH_OPTIONS_PORT, &port) < 0 ||
        ssh_options_set(c->session, SSH_OPTIONS_USER, user) < 0 ||
        ssh_options_set(c->session, SSH_OPTIONS_KNOWNHOSTS, known) < 0 ||
        ssh_options_set(c->session, SSH_OPTIONS_GLOBAL_KNOWNHOSTS, known) < 0)
        return err_set(err, E_CONFIG, "%s: %s", spec->host, ssh_get_error(c->session));
    ssh_set_blocking(c->session, 0);
    if (ssh_pki_import_privkey_file(spec->identity, NULL, NULL, NULL, &c->key) !=
        SSH_OK)
        return err_set(err, E_CONFIG,
                       "cannot read the private key '%s'; 'lodge site init' makes one",
                       spec->identity);
    return 0;
}

static int conn_new(sd_event *event, const struct transport_spec *spec,
                    struct conn **out, struct err *err)
{
    if (!spec->host || !spec->identity || !spec->known_hosts)
        return err_set(err, E_CONFIG,
                       "transport ssh needs a host, a key and known hosts");
    struct conn *c = calloc(1, sizeof *c);
    if (!c)
        return err_oom(err);
    *c = (struct conn){.refs = 1, .event = sd_event_ref(event)};
    list_init(&c->chans);
    c->host = strdup(spec->host);
    c->session = ssh_new();
    int r = c->host && c->session ? set_options(c, spec, err) : err_oom(err);
    if (r == 0 && sd_event_add_defer(event, &c->again, on_again, c) < 0)
        r = err_oom(err);
    if (r == 0) {
        sd_event_source_set_enabled(c->again, SD_EVENT_OFF);
        r = resolve_connect(event, spec->host, spec->port ? spec->port : 22,
                            on_resolved, c, &c->resolve, err);
    }
    if (r < 0)
        conn_unref(c);
    else
        *out = c;
    return r;
}

static void chan_close(struct transport *t)
{
    struct chan *ch = t->kind;
    if (!ch)
        return;
    if (ch->conn)
        list_remove(&ch->in);
    if (ch->channel)
        ssh_channel_free(ch->channel);
    if (ch->conn)
        walk_soon(ch->conn);
    conn_unref(ch->conn);
    free(ch->subsystem);
    free(ch);
}

static int chan_open(struct transport *t, const struct transport_spec *spec,
                     struct err *err)
{
    const struct transport *over = spec->over;
    struct conn *shared = over && over->ops == &transport_ssh && over->kind
                              ? ((struct chan *)over->kind)->conn
                              : NULL;
    struct chan *ch = t->kind = calloc(1, sizeof *ch);
    if (!ch || !(ch->subsystem = strdup(spec->subsystem ? spec->subsystem : "lodge"))) {
        chan_close(t);
        return err_oom(err);
    }
    ch->t = t;
    if (shared && shared->step != CONN_DOWN) {
        shared->refs++;
        ch->conn = shared;
    } else if (conn_new(t->event, spec, &ch->conn, err) < 0) {
        chan_close(t);
        return -1;
    }
    list_add(&ch->conn->chans, &ch->in);
    walk_soon(ch->conn);
    return 0;
}

static void chan_flush(struct transport *t)
{
    struct chan *ch = t->kind;
    chan_write(ch);
    walk_soon(ch->conn);
}

static void chan_pause(struct transport *t, bool on)
{
    struct chan *ch = t->kind;
    ch->paused = on;
    walk_soon(ch->conn);
}

const struct transport_ops transport_ssh = {.name = "ssh",
                                            .open = chan_open,
                                            .flush = chan_flush,
                                            .pause = chan_pause,
                                            .close = chan_close};
