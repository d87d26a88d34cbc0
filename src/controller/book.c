/* SPDX-License-Identifier: Apache-2.0 */
/* The book of events; see the header. */
#include "controller/book.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

enum {
    LATER_MS = 100,
    KEEP_DAYS = 90,
    OPEN_MAX = 100000, /* if the store cannot be written for long */
};

struct book {
    sd_event *event;
    struct store *store;
    struct rpc_server *server;
    json_t *open; /* [{who, node, vm, job, what, data}] */
    sd_event_source *timer;
};

static bool may_see(uid_t uid, const json_t *data)
{
    const json_t *owner = json_object_get(data, "uid");
    return uid == 0 || !owner || json_integer_value(owner) == (json_int_t)uid;
}

static int write_all(struct book *b, struct err *err)
{
    json_t *e;
    size_t i;
    if (store_begin(b->store, err) < 0)
        return -1;
    int r = 0;
    json_array_foreach (b->open, i, e) {
        if (r == 0)
            r = store_event_add(b->store, json_integer_value(json_object_get(e, "at")),
                                (uid_t)json_integer_value(json_object_get(e, "who")),
                                json_string_value(json_object_get(e, "node")),
                                json_string_value(json_object_get(e, "vm")),
                                json_string_value(json_object_get(e, "job")),
                                json_string_value(json_object_get(e, "what")),
                                json_object_get(e, "data"), err);
    }
    return store_end(b->store, r == 0, err);
}

static void flush(struct book *b)
{
    struct err err;
    json_t *e;
    size_t i;
    if (!json_array_size(b->open))
        return;
    if (write_all(b, &err) < 0) {
        log_error(NULL, "events: %s", err.text);
        return; /* with the next ones */
    }
    json_array_foreach (b->open, i, e)
        if (b->server)
            rpc_server_emit(b->server, json_string_value(json_object_get(e, "what")),
                            json_incref(json_object_get(e, "data")), may_see);
    json_array_clear(b->open);
}

static int on_timer(sd_event_source *source, uint64_t now, void *arg)
{
    flush(arg);
    return 0;
}

int book_new(sd_event *event, struct store *store, struct book **out, struct err *err)
{
    AUTO(book) b = calloc(1, sizeof *b);
    if (!b)
        return err_oom(err);
    b->event = sd_event_ref(event);
    b->store = store;
    if (!(b->open = json_array()) ||
        sd_event_add_time(event, &b->timer, CLOCK_MONOTONIC, 0, 0, on_timer, b) < 0)
        return err_oom(err);
    sd_event_source_set_enabled(b->timer, SD_EVENT_OFF);
    uint64_t old = KEEP_DAYS * 24 * 3600 * 1000ull, now = clock_wall_ms();
    if (store_event_forget(store, (int64_t)(now > old ? now - old : 0), err) < 0)
        return -1;
    *out = move(b);
    return 0;
}

void book_free(struct book *b)
{
    if (!b)
        return;
    b->server = NULL;
    if (b->open)
        flush(b);
    json_decref(b->open);
    sd_event_source_disable_unref(b->timer);
    sd_event_unref(b->event);
    free(b);
}

void book_tell(struct book *b, struct rpc_server *server)
{
    b->server = server;
}

void book_add(struct book *b, uid_t who, const char *node, const char *vm,
              const char *job, const char *what, json_t *data)
{
    json_t *e = json_pack("{s:I, s:I, s:s*, s:s*, s:s*, s:s, s:o}", "at",
                          (json_int_t)clock_wall_ms(), "who", (json_int_t)who, "node",
                          node, "vm", vm, "job", job, "what", what, "data",
                          data ? data : json_object());
    if (json_array_size(b->open) >= OPEN_MAX)
        json_array_remove(b->open, 0);
    json_array_append_new(b->open, e);
    int on = SD_EVENT_OFF;
    sd_event_source_get_enabled(b->timer, &on);
    if (on != SD_EVENT_OFF)
        return;
    sd_event_source_set_time_relative(b->timer, LATER_MS * 1000ull);
    sd_event_source_set_enabled(b->timer, SD_EVENT_ONESHOT);
}
