/* SPDX-License-Identifier: Apache-2.0 */
/* Sending images; see the header. One push: offer, then parts of each blob that is missing
 * (a few under way at once), then commit. A blob that arrived damaged is sent once more. */
#include "controller/push.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/fd.h"
#include "base/list.h"
#include "base/str.h"
#include "image/cache.h"
#include "image/keep.h"
#include "image/manifest.h"
#include "image/part.h"
#include "image/store.h"
#include "proto/rpc.h"

enum {
    PART_BYTES = 384 << 10,
    AT_ONCE = 16, /* nodes */
    WINDOW = 3,   /* parts under way to one node: other requests wait behind them */
    OFFER_MS = 1800000, /* a node may have to check and to make room */
    PART_MS = 120000,
    TRIES = 2,
};

struct pusher {
    struct hub *hub;
    struct list pushes;
    unsigned active;
};

struct push {
    struct list in;
    struct pusher *pusher;
    char *node, *ref;
    json_t *manifest, *missing; /* missing: [{"sha256", "size", "have"}] */
    bool latest, active, cancelled, failed;
    bool packs; /* the node takes compressed parts */
    struct err why;
    size_t blob;     /* of missing */
    int fd;          /* of that blob */
    uint64_t offset; /* sent of that blob */
    uint64_t sent, total;
    unsigned flying, tries;
    link_done_f done;
    push_note_f note;
    void *arg;
};

static void push_free(struct push *p)
{
    if (!p)
        return;
    list_remove(&p->in);
    if (p->fd >= 0)
        close(p->fd);
    json_decref(p->manifest);
    json_decref(p->missing);
    free(p->node);
    free(p->ref);
    free(p);
}
OWN_DEFINE(push)

int pusher_new(struct hub *hub, struct pusher **out, struct err *err)
{
    struct pusher *p = calloc(1, sizeof *p);
    if (!p)
        return err_oom(err);
    p->hub = hub;
    list_init(&p->pushes);
    *out = p;
    return 0;
}

void pusher_free(struct pusher *p)
{
    if (!p)
        return;
    struct err why;
    err_set(&why, E_CANCELLED, "the controller ends");
    while (!list_is_empty(&p->pushes)) {
        struct push *one = list_entry(p->pushes.next, struct push, in);
        one->done(NULL, &why, one->arg);
        push_free(one);
    }
    free(p);
}

int push_params(const char *ref, json_t **out, struct err *err)
{
    AUTO_JSON m = NULL;
    AUTO_JSON latest = NULL;
    if (keep_manifest(ref, &m, err) < 0)
        return -1;
    const char *name = manifest_text(m, "name");
    AUTO_STR digest = manifest_digest(m);
    AUTO_STR full = str_printf("%s@%s", name, digest);
    if (!digest || !full)
        return err_oom(err);
    bool is_latest = false;
    if (keep_manifest(name, &latest, NULL) == 0) {
        AUTO_STR other = manifest_digest(latest);
        is_latest = other && !strcmp(other, digest);
    }
    *out = json_pack("{s:s, s:b}", "image", full, "latest", is_latest);
    return *out ? 0 : err_oom(err);
}

/* --- one push ------------------------------------------------------------------------- */

static void start_next(struct pusher *p);
static void step(struct push *p);

/* Nothing is under way any more: tell, and let the next one begin. */
static void end(struct push *p)
{
    struct pusher *pusher = p->pusher;
    AUTO_STR said = str_printf("%" PRIu64 " bytes sent", p->sent);
    AUTO_JSON result = json_pack("{s:s*}", "id", said);
    list_remove(&p->in);
    pusher->active--;
    p->done(p->failed ? NULL : result, p->failed ? &p->why : NULL, p->arg);
    push_free(p);
    start_next(pusher);
}

static void fail(struct push *p, const struct err *why)
{
    if (!p->failed)
        p->why = *why;
    p->failed = true;
}

static void ask(struct push *p, const char *method, json_t *params, unsigned ms,
                link_done_f done)
{
    struct err err;
    if (!params) {
        err_oom(&err);
        fail(p, &err);
    } else if (hub_call(p->pusher->hub, p->node, method, params, ms, done, p, &err) <
               0) {
        fail(p, &err);
    } else {
        p->flying++;
    }
}

static json_t *with_manifest(const struct push *p)
{
    return json_pack("{s:O, s:b}", "manifest", p->manifest, "latest", p->latest);
}

static void on_offer(json_t *result, const struct err *why, void *arg)
{
    struct push *p = arg;
    p->flying--;
    json_t *missing = json_object_get(result, "missing"), *m;
    size_t i;
    if (why)
        fail(p, why);
    if (why || json_is_true(json_object_get(result, "here"))) {
        end(p);
        return;
    }
    json_decref(p->missing);
    p->missing = json_incref(missing);
    p->packs = json_is_true(json_object_get(result, "zstd"));
    p->blob = p->offset = 0;
    p->total = p->sent;
    json_array_foreach (missing, i, m)
        p->total += (uint64_t)(json_integer_value(json_object_get(m, "size")) -
                               json_integer_value(json_object_get(m, "have")));
    step(p);
}

static void offer(struct push *p)
{
    ask(p, "image.offer", with_manifest(p), OFFER_MS, on_offer);
    if (!p->flying)
        end(p);
}

static void on_commit(json_t *result, const struct err *why, void *arg)
{
    struct push *p = arg;
    p->flying--;
    if (why && (why->code == E_IO || why->code == E_STATE) && ++p->tries < TRIES) {
        offer(p);
        return;
    }
    if (why)
        fail(p, why);
    end(p);
}

static void on_part(json_t *result, const struct err *why, void *arg)
{
    struct push *p = arg;
    p->flying--;
    if (why)
        fail(p, why);
    else if (p->note)
        p->note(p->sent, p->total, p->arg);
    step(p);
}

/* Open the next blob that is missing; false at the end, or when it cannot be read. */
static bool next_blob(struct push *p)
{
    struct err err;
    json_t *m = json_array_get(p->missing, p->blob);
    const char *sum = json_string_value(json_object_get(m, "sha256")), *name;
    json_t *outputs =
               json_object_get(json_object_get(p->manifest, "content"), "outputs"),
           *o;
    AUTO_STR path = NULL;
    if (!m)
        return false;
    /* Only what the manifest names is ever read for a node. */
    json_object_foreach (outputs, name, o) {
        const char *own = json_string_value(json_object_get(o, "sha256"));
        if (!path && sum && own && !strcmp(own, sum) &&
            keep_output(p->ref, name, &path, &err) < 0)
            break;
    }
    if (!path)
        err_set(&err, E_PROTO, "%s asks for a blob that image '%s' has not", p->node,
                p->ref);
    else if ((p->fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        err_sys(&err, "'%s'", path);
    if (p->fd < 0) {
        fail(p, &err);
        return false;
    }
    json_int_t have = json_integer_value(json_object_get(m, "have"));
    p->offset = have > 0 ? (uint64_t)have : 0;
    return true;
}

/* One part more on its way; false when this blob has no more. */
static bool send_part(struct push *p)
{
    json_t *m = json_array_get(p->missing, p->blob);
    uint64_t size = (uint64_t)json_integer_value(json_object_get(m, "size"));
    AUTO_STR data = malloc(PART_BYTES);
    struct err err;
    if (!data) {
        err_oom(&err);
        fail(p, &err);
        return false;
    }
    ssize_t n = pread(p->fd, data, PART_BYTES, (off_t)p->offset);
    if (n < 0 || (n == 0 && p->offset < size)) {
        err_set(&err, E_IO, "image '%s' cannot be read here; 'lodge image verify' it",
                p->ref);
        fail(p, &err);
        return false;
    }
    /* An empty blob is made by its one empty part. */
    if (n == 0 && size)
        return false;
    AUTO_STR packed = NULL;
    size_t len = (size_t)n;
    if (p->packs)
        packed = part_pack(data, (size_t)n, &len);
    AUTO_STR text = base64_encode(packed ? packed : data, len);
    ask(p, "image.part",
        text ? json_pack("{s:O, s:I, s:s, s:o*}", "sha256",
                         json_object_get(m, "sha256"), "offset", (json_int_t)p->offset,
                         "data", text, "zstd", packed ? json_true() : NULL)
             : NULL,
        PART_MS, on_part);
    p->offset += (uint64_t)n;
    p->sent += (uint64_t)n;
    return size && p->offset < size;
}

static void step(struct push *p)
{
    struct err err;
    if (p->cancelled) {
        err_set(&err, E_CANCELLED, "cancelled");
        fail(p, &err);
    }
    while (!p->failed && p->flying < WINDOW && p->blob < json_array_size(p->missing)) {
        if (p->fd < 0 && !next_blob(p))
            break;
        if (!send_part(p)) {
            close(p->fd);
            p->fd = -1;
            p->blob++;
        }
    }
    if (p->flying)
        return;
    if (!p->failed)
        ask(p, "image.commit", with_manifest(p), OFFER_MS, on_commit);
    if (!p->flying)
        end(p);
}

/* --- many ------------------------------------------------------------------------------ */

static void start_next(struct pusher *p)
{
    struct push *one, *next;
    list_each_safe (one, next, &p->pushes, in)
        if (!one->active && p->active < AT_ONCE) {
            one->active = true;
            p->active++;
            offer(one);
            return; /* offer() may have ended it, and others: end() comes here again */
        }
}

int push_start(struct pusher *p, const char *node, json_t *params, link_done_f done,
               push_note_f note, void *arg, struct err *err)
{
    const char *ref;
    int latest;
    AUTO(push) one = calloc(1, sizeof *one);
    if (!one)
        return err_oom(err);
    list_init(&one->in);
    *one = (struct push){
        .in = one->in, .pusher = p, .fd = -1, .done = done, .note = note, .arg = arg};
    list_init(&one->in);
    if (rpc_unpack(params, err, PUSH_METHOD, "{s:s, s:b}", "image", &ref, "latest",
                   &latest) < 0 ||
        keep_manifest(ref, &one->manifest, err) < 0)
        return -1;
    one->latest = latest;
    if (!(one->node = strdup(node)) || !(one->ref = strdup(ref)))
        return err_oom(err);
    struct link *link = hub_link(p->hub, node);
    if (!link || link_state(link) != LINK_UP)
        return err_set(err, E_HOST, "%s: not connected", node);
    list_add(&p->pushes, &one->in);
    move(one);
    start_next(p);
    return 0;
}

void push_cancel(struct pusher *p, const void *arg)
{
    struct push *one;
    list_each (one, &p->pushes, in)
        one->cancelled |= one->arg == arg;
}
