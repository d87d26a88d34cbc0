/* SPDX-License-Identifier: Apache-2.0 */
/* op.list, op.show: who asked for which change, and what became of it. */
#include "controller/handlers.h"
#include "store/store.h"

#include <inttypes.h>

OWN_CLEANUP(json_t, json_decref)

static int op_list(const struct dispatch_call *c, json_t **result, struct err *err)
{
    static const char *const names[] = {"all", "limit", NULL};
    struct store *s;
    int64_t limit;
    bool all;
    if (dispatch_only(c, names, err) < 0 || dispatch_flag(c, "all", &all, err) < 0 ||
        dispatch_number(c, "limit", 100, 100000, &limit, err) < 0)
        return -1;
    if (all && c->uid)
        return err_set(err, E_PERM, "only root may list everybody's operations");
    if (dispatch_store(c, &s, err) < 0)
        return -1;
    return store_op_list(s, c->uid, all, (uint32_t)limit, result, err);
}

static int op_show(const struct dispatch_call *c, json_t **result, struct err *err)
{
    static const char *const names[] = {"id", NULL};
    AUTO_T(json_t) row = NULL;
    struct store *s;
    int64_t id;
    if (dispatch_only(c, names, err) < 0 ||
        dispatch_number(c, "id", 0, INT64_MAX, &id, err) < 0 ||
        dispatch_store(c, &s, err) < 0 || store_op_get(s, id, &row, err) < 0)
        return -1;
    /* Another's is as good as none. */
    if (c->uid && json_integer_value(json_object_get(row, "who")) != (json_int_t)c->uid)
        return err_set(err, E_NOENT, "no operation %" PRId64 "; see 'lodge op list'",
                       id);
    *result = move(row);
    return 0;
}

const struct dispatch_method dispatch_op[] = {
    {"op.list", op_list, .help = "operations, newest first"},
    {"op.show", op_show, .help = "one operation"},
    {0},
};
