/* SPDX-License-Identifier: Apache-2.0 */
/* Kind ssh: libssh without blocking, one step function walked by events of the socket.
 * Keys only; the host's key must already be known; no configuration file but ours is
 * read. */
#include "transport/transport.h"

#include <libssh/libssh.h>
#include <stdlib.h>
#include <string.h>

#include "transport/resolve.h"

enum ssh_step {
    SSH_RESOLVE,
    SSH_HANDSHAKE,
    SSH_AUTHENTICATE,
    SSH_OPEN_CHANNEL,
    SSH_SUBSYSTEM,
    SSH_UP,
    SSH_DOWN,
};

struct ssh_link {
    enum ssh_step step;
    struct resolve *resolve;
    sd_event_source *io;
    ssh_session session;
    ssh_channel channel;
    ssh_key key;
    char *host, *subsystem;
    int fd; /* belongs to session once it is there */
};

static void fail(struct transport *t, enum err_code code, const char *what)
{
    struct ssh_link *s = t->kind;
    struct err err;
    const char *detail = s->session ? ssh_get_error(s->session) : "";
    bool more = s->step != SSH_UP && *detail;
    err_set(&err, code, "%s: %s%s%s", s->host, what, more ? ": " : "",
            more ? detail : "");
    s->step = SSH_DOWN;
    s->io = sd_event_source_disable_unref(s->io);
    transport_is_down(t, &err);
}

/* Each step gives 1: go on to the next; 0: wait for the socket; -1: failed and told. */
static int handshake(struct transport *t)
{
    struct ssh_link *s = t->kind;
    int r = ssh_connect(s->session);
    if (r == SSH_AGAIN)
        return 0;
    if (r != SSH_OK) {
        fail(t, E_HOST, "no SSH connection");
        return -1;
    }
    switch (ssh_session_is_known_server(s->session)) {
    case SSH_KNOWN_HOSTS_OK:
        return 1;
    case SSH_KNOWN_HOSTS_CHANGED:
    case SSH_KNOWN_HOSTS_OTHER:
        fail(
            t, E_PERM,
            "the host key is not the known one: if the node was reinstalled, give its "
            "new key by 'lodge node add --host-key FILE', else somebody is in between");
        return -1;
    default:
        fail(t, E_PERM,
             "the host key is not known; give it by 'lodge node add --host-key FILE'");
        return -1;
    }
}

static int authenticate(struct transport *t)
{
    struct ssh_link *s = t->kind;
    int r = ssh_userauth_publickey(s->session, NULL, s->key);
    if (r == SSH_AUTH_AGAIN)
        return 0;
    if (r == SSH_AUTH_SUCCESS)
        return 1;
    fail(t, E_PERM, "the node does not accept the controller's key");
    return -1;
}

static int open_channel(struct transport *t)
{
    struct ssh_link *s = t->kind;
    if (!s->channel && !(s->channel = ssh_channel_new(s->session))) {
        fail(t, E_SYS, "out of memory");
        return -1;
    }
    int r = ssh_channel_open_session(s->channel);
    if (r == SSH_AGAIN)
        return 0;
    if (r == SSH_OK)
        return 1;
    fail(t, E_HOST, "no SSH channel");
    return -1;
}

static int subsystem(struct transport *t)
{
    struct ssh_link *s = t->kind;
    int r = ssh_channel_request_subsystem(s->channel, s->subsystem);
    if (r == SSH_AGAIN)
        return 0;
    if (r == SSH_OK)
        return 1;
    fail(t, E_UNAVAIL,
         "the node's sshd has no subsystem for Lodge; add 'Subsystem lodge "
         "/usr/libexec/lodge/lodge-join' to its sshd_config");
    return -1;
}

static void read_all(struct transport *t)
{
    struct ssh_link *s = t->kind;
    static char part[32768];
    while (s->step == SSH_UP && !t->closed) {
        int n = ssh_channel_read_nonblocking(s->channel, part, sizeof part, 0);
        if (n > 0) {
            transport_got(t, part, n);
            continue;
        }
        if (n == SSH_ERROR || n == SSH_EOF || ssh_channel_is_eof(s->channel) ||
            ssh_channel_is_closed(s->channel) || !ssh_is_connected(s->session))
            fail(t, E_HOST, "the connection was closed");
        return;
    }
}

static void ssh_flush(struct transport *t)
{
    struct ssh_link *s = t->kind;
    while (s->step == SSH_UP && t->out_at < t->out.len) {
        size_t left = t->out.len - t->out_at;
        int n = ssh_channel_write(s->channel, t->out.data + t->out_at,
                                  left < 32768 ? left : 32768);
        if (n <= 0)
            break; /* no window now; a broken one is told by the read side */
        transport_sent(t, n);
    }
    if (s->io)
        sd_event_source_set_io_events(
            s->io,
            EPOLLIN |
                (ssh_get_poll_flags(s->session) & SSH_WRITE_PENDING ? EPOLLOUT : 0));
}

static void walk(struct transport *t)
{
    static int (*const steps[])(struct transport *) = {
        [SSH_HANDSHAKE] = handshake,
        [SSH_AUTHENTICATE] = authenticate,
        [SSH_OPEN_CHANNEL] = open_channel,
        [SSH_SUBSYSTEM] = subsystem};
    struct ssh_link *s = t->kind;
    while (s->step > SSH_RESOLVE && s->step < SSH_UP) {
        int r = steps[s->step](t);
        if (r < 0)
            return;
        if (r == 0)
            break;
        if (++s->step == SSH_UP)
            transport_is_up(t);
    }
    if (s->step == SSH_DOWN || t->closed)
        return;
    read_all(t);
    if (s->step != SSH_DOWN && !t->closed)
        ssh_flush(t);
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *arg)
{
    walk(arg);
    return 0;
}

static void on_resolved(int fd, const struct err *err, void *arg)
{
    struct transport *t = arg;
    struct ssh_link *s = t->kind;
    if (fd < 0) {
        s->step = SSH_DOWN;
        transport_is_down(t, err);
        return;
    }
    s->fd = fd;
    ssh_options_set(s->session, SSH_OPTIONS_FD, &s->fd);
    if (sd_event_add_io(t->event, &s->io, fd, EPOLLIN, on_io, t) < 0) {
        fail(t, E_SYS, "event");
        return;
    }
    s->step = SSH_HANDSHAKE;
    walk(t);
}

static int set_options(struct ssh_link *s, const struct transport_spec *spec,
                       struct err *err)
{
    int no = 0;
    unsigned port = spec->port ? spec->port : 22;
    if (ssh_options_set(s->session, SSH_OPTIONS_PROCESS_CONFIG, &no) < 0 ||
        ssh_options_set(s->session, SSH_OPTIONS_HOST, spec->host) < 0 ||
        ssh_options_set(s->session, SSH_OPTIONS_PORT, &port) < 0 ||
        ssh_options_set(s->session, SSH_OPTIONS_USER,
                        spec->user ? spec->user : "root") < 0 ||
        ssh_options_set(s->session, SSH_OPTIONS_KNOWNHOSTS, spec->known_hosts) < 0 ||
        ssh_options_set(s->session, SSH_OPTIONS_GLOBAL_KNOWNHOSTS, spec->known_hosts) <
            0)
        return err_set(err, E_CONFIG, "%s: %s", spec->host, ssh_get_error(s->session));
    ssh_set_blocking(s->session, 0);
    if (ssh_pki_import_privkey_file(spec->identity, NULL, NULL, NULL, &s->key) !=
        SSH_OK)
        return err_set(err, E_CONFIG,
                       "cannot read the private key '%s'; 'lodge site init' makes one",
                       spec->identity);
    return 0;
}

static void ssh_link_close(struct transport *t)
{
    struct ssh_link *s = t->kind;
    resolve_free(s->resolve);
    sd_event_source_disable_unref(s->io);
    if (s->channel)
        ssh_channel_free(s->channel);
    ssh_key_free(s->key);
    if (s->session) {
        ssh_silent_disconnect(s->session); /* closes the descriptor, waits for nobody */
        ssh_free(s->session);
    }
    free(s->host);
    free(s->subsystem);
    free(s);
}

static int ssh_link_open(struct transport *t, const struct transport_spec *spec,
                         struct err *err)
{
    if (!spec->host || !spec->identity || !spec->known_hosts)
        return err_set(err, E_CONFIG,
                       "transport ssh needs a host, a key and known hosts");
    struct ssh_link *s = calloc(1, sizeof *s);
    if (!s)
        return err_oom(err);
    t->kind = s;
    s->host = strdup(spec->host);
    s->subsystem = strdup(spec->subsystem ? spec->subsystem : "lodge");
    s->session = ssh_new();
    int r = s->host && s->subsystem && s->session ? set_options(s, spec, err)
                                                  : err_oom(err);
    if (r == 0)
        r = resolve_connect(t->event, spec->host, spec->port ? spec->port : 22,
                            on_resolved, t, &s->resolve, err);
    if (r < 0)
        ssh_link_close(t);
    return r;
}

const struct transport_ops transport_ssh = {
    .name = "ssh", .open = ssh_link_open, .flush = ssh_flush, .close = ssh_link_close};
