/* SPDX-License-Identifier: Apache-2.0 */
/* Finding a method and running it, with its operation when it changes something. */
#include "controller/dispatch.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "controller/handlers.h"
#include "store/nodes.h"
#include "store/store.h"

OWN_CLEANUP(json_t, json_decref)

const struct dispatch_method *const dispatch_tables[] = {
    dispatch_profile, dispatch_cluster, dispatch_image,  dispatch_node,
    dispatch_op,      dispatch_ticket,  dispatch_events, NULL,
};

struct dispatch {
    char *path;
    struct store *store;
};

int dispatch_new(const char *path, struct dispatch **out, struct err *err)
{
    AUTO(dispatch) d = calloc(1, sizeof *d);
    if (!d || (path && !(d->path = strdup(path))))
        return err_oom(err);
    *out = move(d);
    return 0;
}

void dispatch_free(struct dispatch *d)
{
    if (!d)
        return;
    store_free(d->store);
    free(d->path);
    free(d);
}

int dispatch_store(const struct dispatch_call *c, struct store **out, struct err *err)
{
    struct dispatch *d = c->dispatch;
    if (!d->store && store_open(d->path, &d->store, err) < 0)
        return -1;
    *out = d->store;
    return 0;
}

static const struct dispatch_method *find(const char *name, struct err *err)
{
    const char *names[256] = {NULL};
    size_t n = 0;
    for (size_t t = 0; dispatch_tables[t]; t++)
        for (const struct dispatch_method *m = dispatch_tables[t]; m->name; m++) {
            if (!strcmp(m->name, name))
                return m;
            if (n < ARRAY_SIZE(names) - 1)
                names[n++] = m->name;
        }
    const char *near = str_nearest(name, names);
    if (near)
        err_set(err, E_PROTO, "unknown method '%.60s'; did you mean '%s'?", name, near);
    else
        err_set(err, E_PROTO, "unknown method '%.60s'", name);
    return NULL;
}

/* The answer of an earlier copy of the request; *result NULL if there was none. */
static int answered(struct store *s, const struct dispatch_method *m, uid_t uid,
                    const char *request, json_t **result, struct err *err)
{
    AUTO_T(json_t) op = NULL;
    if (store_op_find(s, uid, request, &op, err) < 0)
        return -1;
    if (!op)
        return 0;
    const char *method = json_string_value(json_object_get(op, "method"));
    const char *text = json_string_value(json_object_get(op, "result"));
    if (strcmp(method, m->name))
        return err_set(err, E_INPUT, "request '%.60s' was one of %s", request, method);
    *result = text ? json_loads(text, JSON_DECODE_ANY, NULL) : json_object();
    return *result ? 0 : err_oom(err);
}

/* For methods that take many. */
static const char *first_name(const struct dispatch_call *c)
{
    return json_string_value(json_array_get(json_object_get(c->params, "names"), 0));
}

static int change_in(struct store *s, const struct dispatch_method *m,
                     const struct dispatch_call *c, json_t **result, struct err *err)
{
    const char *request, *target;
    int64_t id;
    if (dispatch_text(c, "request", false, &request, err) < 0 ||
        dispatch_text(c, "name", false, &target, err) < 0)
        return -1;
    if (request && answered(s, m, c->uid, request, result, err) < 0)
        return -1;
    if (*result)
        return 0;
    if (store_op_start(s, m->name, target, c->uid, request, &id, err) < 0 ||
        m->run(c, result, err) < 0)
        return -1;
    if (store_op_finish(s, id, *result, NULL, err) < 0)
        return -1;
    AUTO_T(json_t)
    what = json_pack("{s:I, s:s*, s:I}", "op", (json_int_t)id, "target",
                     target ? target : first_name(c), "uid", (json_int_t)c->uid);
    return store_event_add(s, 0, c->uid, NULL, NULL, NULL, m->name, what, err);
}

static int change(const struct dispatch_method *m, const struct dispatch_call *c,
                  json_t **result, struct err *err)
{
    struct store *s;
    json_t *got = NULL;
    if (dispatch_store(c, &s, err) < 0 || store_begin(s, err) < 0)
        return -1;
    int r = change_in(s, m, c, &got, err);
    if (store_end(s, r == 0, err) < 0) {
        json_decref(got);
        return -1;
    }
    *result = got;
    return 0;
}

int dispatch_call(struct dispatch *d, uid_t uid, bool embedded, const char *method,
                  const json_t *params, json_t **result, struct err *err)
{
    AUTO_T(json_t) none = params ? NULL : json_object();
    struct dispatch_call c = {.dispatch = d,
                              .uid = uid,
                              .embedded = embedded,
                              .params = params ? params : none};
    const struct dispatch_method *m = find(method, err);
    if (!m)
        return -1;
    if (!json_is_object(c.params))
        return err_set(err, E_PROTO, "%s: params must be an object", method);
    *result = NULL;
    if (m->changes)
        return change(m, &c, result, err);
    return m->run(&c, result, err);
}

int dispatch_text(const struct dispatch_call *c, const char *name, bool needed,
                  const char **out, struct err *err)
{
    const json_t *v = json_object_get(c->params, name);
    *out = NULL;
    if (!v || json_is_null(v))
        return needed ? err_set(err, E_USAGE, "parameter '%s' is missing", name) : 0;
    if (!json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v))
        return err_set(err, E_INPUT, "parameter '%s' must be a text", name);
    *out = json_string_value(v);
    return 0;
}

int dispatch_number(const struct dispatch_call *c, const char *name, int64_t def,
                    int64_t max, int64_t *out, struct err *err)
{
    const json_t *v = json_object_get(c->params, name);
    *out = def;
    if (!v || json_is_null(v))
        return 0;
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > max)
        return err_set(err, E_INPUT, "parameter '%s' must be a number, 0 to %" PRId64,
                       name, max);
    *out = json_integer_value(v);
    return 0;
}

int dispatch_flag(const struct dispatch_call *c, const char *name, bool *out,
                  struct err *err)
{
    const json_t *v = json_object_get(c->params, name);
    if (v && !json_is_boolean(v))
        return err_set(err, E_INPUT, "parameter '%s' must be true or false", name);
    *out = json_is_true(v);
    return 0;
}

int dispatch_only(const struct dispatch_call *c, const char *const *names,
                  struct err *err)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)c->params, key, value) {
        size_t i = 0;
        while (names[i] && strcmp(names[i], key))
            i++;
        if (!names[i] && strcmp(key, "request"))
            return err_set(err, E_PROTO, "unknown parameter '%.60s'", key);
    }
    return 0;
}
