/* SPDX-License-Identifier: Apache-2.0 */
/* Claims of tickets; see the header. */
#include "controller/claims.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

enum { ANSWER_MS = 30000 };

struct asked {
    struct lodged *l;
    char *node;
};

static void on_refused(json_t *result, const struct err *why, void *arg)
{
    struct asked *a = arg;
    if (why)
        log_warn(&(struct log_ctx){.node = a->node}, "a reused ticket: %s", why->text);
    free(a->node);
    free(a);
}

static void refuse(struct lodged *l, const char *node, const char *job,
                   const json_t *first)
{
    struct log_ctx ctx = {.node = node, .job = job};
    const char *other = json_string_value(json_object_get(first, "job"));
    const char *where = json_string_value(json_object_get(first, "node"));
    struct asked *a = calloc(1, sizeof *a);
    struct err err;
    log_warn(&ctx, "its ticket was used before, for job %s on node %s", other, where);
    book_add(l->book, 0, node, NULL, job, "ticket.reused",
             json_pack("{s:O, s:s+++}", "uid", json_object_get(first, "uid"), "why",
                       "used before, for job ", other, " on node ", where));
    if (!a || !(a->node = strdup(node))) {
        free(a);
        return;
    }
    a->l = l;
    if (hub_call(
            l->hub, node, "ticket.refuse",
            json_pack("{s:s, s:s, s:s}", "job", job, "first", other, "node", where),
            ANSWER_MS, on_refused, a, &err) < 0)
        on_refused(NULL, &err, a);
}

void claims_take(struct lodged *l, const char *node, const json_t *claim)
{
    struct err err;
    AUTO_JSON first = NULL;
    const char *ticket, *job;
    json_int_t uid, expires;
    if (rpc_unpack((json_t *)claim, &err, "ticket.claim", "{s:s, s:s, s:I, s:I}",
                   "ticket", &ticket, "job", &job, "uid", &uid, "expires",
                   &expires) < 0 ||
        store_claim(l->store, ticket, job, (uid_t)uid, node, expires, &first, &err) <
            0) {
        log_error(&(struct log_ctx){.node = node}, "%s", err.text);
        return;
    }
    if (strcmp(json_string_value(json_object_get(first, "job")), job))
        refuse(l, node, job, first);
}

static void on_claims(json_t *result, const struct err *why, void *arg)
{
    struct asked *a = arg;
    json_t *claim;
    size_t i;
    json_array_foreach (json_object_get(result, "claims"), i, claim)
        claims_take(a->l, a->node, claim);
    free(a->node);
    free(a);
}

void claims_node_up(struct lodged *l, const char *node)
{
    struct asked *a = calloc(1, sizeof *a);
    if (!a || !(a->node = strdup(node))) {
        free(a);
        return;
    }
    a->l = l;
    if (hub_call(l->hub, node, "ticket.claims", NULL, ANSWER_MS, on_claims, a, NULL) <
        0)
        on_claims(NULL, NULL, a);
}

int claims_forget(struct lodged *l, struct err *err)
{
    return store_claims_forget(l->store, (int64_t)(clock_wall_ms() / 1000), err);
}
