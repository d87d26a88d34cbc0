/* SPDX-License-Identifier: Apache-2.0 */
/* The table of transports and what they share. A transport that is closed inside one of
 * its own callbacks is freed when the callback has returned. */
#include "transport/transport.h"

#include <stdlib.h>
#include <string.h>

static const struct transport_ops *const kinds[] = {&transport_ssh, &transport_exec,
                                                    &transport_unix};

static void destroy(struct transport *t)
{
    str_buf_done(&t->out);
    sd_event_unref(t->event);
    free(t);
}

/* Call back, guarded: false if the transport was closed meanwhile (and is gone). */
#define CALL_BACK(t, call)                                                             \
    do {                                                                               \
        bool outer_ = (t)->in_callback;                                                \
        (t)->in_callback = true;                                                       \
        call;                                                                          \
        (t)->in_callback = outer_;                                                     \
    } while (0)

void transport_is_up(struct transport *t)
{
    if (!t->closed && !t->is_down)
        CALL_BACK(t, t->cb.up(t->arg));
}

void transport_got(struct transport *t, const void *data, size_t len)
{
    if (!t->closed && !t->is_down)
        CALL_BACK(t, t->cb.data(data, len, t->arg));
}

void transport_is_down(struct transport *t, const struct err *why)
{
    if (t->closed || t->is_down)
        return;
    t->is_down = true;
    CALL_BACK(t, t->cb.down(why, t->arg));
}

uint64_t transport_progress(const struct transport *t)
{
    return t->sent;
}

void transport_sent(struct transport *t, size_t n)
{
    t->sent += n;
    t->out_at += n;
    str_buf_compact(&t->out, &t->out_at);
    if (!t->out.len && t->cb.drained && !t->closed && !t->is_down)
        CALL_BACK(t, t->cb.drained(t->arg));
}

size_t transport_pending(const struct transport *t)
{
    return t->out.len - t->out_at;
}

void transport_pause(struct transport *t, bool on)
{
    if (!t->is_down && !t->closed)
        t->ops->pause(t, on);
}

int transport_open(sd_event *event, const struct transport_spec *spec,
                   const struct transport_callbacks *callbacks, void *arg,
                   struct transport **out, struct err *err)
{
    const struct transport_ops *ops = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (!strcmp(kinds[i]->name, spec->kind))
            ops = kinds[i];
    if (!ops)
        return err_set(err, E_CONFIG, "transport '%s' is not one of ssh, exec, unix",
                       spec->kind);
    struct transport *t = calloc(1, sizeof *t);
    if (!t)
        return err_oom(err);
    *t = (struct transport){
        .ops = ops, .event = sd_event_ref(event), .cb = *callbacks, .arg = arg};
    if (ops->open(t, spec, err) < 0) {
        destroy(t);
        return -1;
    }
    *out = t;
    return 0;
}

int transport_send(struct transport *t, const void *data, size_t len, struct err *err)
{
    if (t->is_down)
        return err_set(err, E_HOST, "the connection is down");
    if (t->out.len - t->out_at + len > TRANSPORT_OUT_MAX)
        return err_set(err, E_BUSY, "the other end does not read");
    str_buf_add(&t->out, data, len);
    if (t->out.failed)
        return err_oom(err);
    t->ops->flush(t);
    return 0;
}

/* Runs from the loop, when no frame of this transport is on the stack any more. */
static int on_close_later(sd_event_source *source, void *arg)
{
    struct transport *t = arg;
    sd_event_source_unref(source);
    t->ops->close(t);
    destroy(t);
    return 0;
}

void transport_close(struct transport *t)
{
    if (!t || t->closed)
        return;
    t->closed = true;
    sd_event_source *later;
    if (t->in_callback && sd_event_add_defer(t->event, &later, on_close_later, t) >= 0)
        return;
    t->ops->close(t);
    destroy(t);
}
