/* SPDX-License-Identifier: Apache-2.0 */
/* JSON lines: framing and the shapes of messages. Pure but for memory. */
#include "proto/rpc.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

char *rpc_lines_room(struct rpc_lines *l, size_t want)
{
    if (l->len + want > RPC_LINE_MAX + 65536)
        return NULL;
    if (l->len + want > l->size) {
        size_t size = l->size ? l->size : 4096;
        while (size < l->len + want)
            size *= 2;
        char *data = realloc(l->data, size);
        if (!data)
            return NULL;
        l->data = data;
        l->size = size;
    }
    return l->data + l->len;
}

void rpc_lines_added(struct rpc_lines *l, size_t n)
{
    l->len += n;
}

void rpc_lines_done(struct rpc_lines *l)
{
    free(l->data);
    *l = (struct rpc_lines){0};
}

static int parse(const char *line, size_t len, json_t **out, struct err *err)
{
    json_error_t je;
    json_t *got = json_loadb(line, len, JSON_REJECT_DUPLICATES, &je);
    if (!got)
        return err_set(err, E_PROTO, "not a JSON message: %s", je.text);
    if (!json_is_object(got)) {
        json_decref(got);
        return err_set(err, E_PROTO, "a message must be a JSON object");
    }
    *out = got;
    return 1;
}

int rpc_lines_next(struct rpc_lines *l, json_t **out, struct err *err)
{
    char *end = l->len > l->scanned
                    ? memchr(l->data + l->scanned, '\n', l->len - l->scanned)
                    : NULL;
    if (!end) {
        l->scanned = l->len;
        if (l->len > RPC_LINE_MAX)
            return err_set(err, E_PROTO, "a message is longer than %d bytes",
                           RPC_LINE_MAX);
        if (!l->len && l->size > 65536)
            rpc_lines_done(l); /* a long line leaves no memory behind */
        return 0;
    }
    size_t len = end - l->data;
    int r =
        len > RPC_LINE_MAX
            ? err_set(err, E_PROTO, "a message is longer than %d bytes", RPC_LINE_MAX)
            : parse(l->data, len, out, err);
    l->len -= len + 1;
    l->scanned = 0;
    memmove(l->data, end + 1, l->len);
    return r;
}

int rpc_encode(const json_t *object, char **out, size_t *len, struct err *err)
{
    char *text = json_dumps(object, JSON_COMPACT);
    if (!text)
        return err_oom(err);
    size_t n = strlen(text);
    char *line = n < RPC_LINE_MAX ? realloc(text, n + 2) : NULL;
    if (!line) {
        free(text);
        return err_set(err, E_PROTO, "a message is longer than %d bytes", RPC_LINE_MAX);
    }
    line[n] = '\n';
    line[n + 1] = '\0';
    *out = line;
    *len = n + 1;
    return 0;
}

json_t *rpc_hello(const char *program)
{
    return json_pack("{s:{s:i, s:s, s:s}}", "hello", "protocol", RPC_PROTOCOL,
                     "program", program, "version", PACKAGE_VERSION);
}

json_t *rpc_request(const char *id, const char *method, json_t *params)
{
    return json_pack("{s:s, s:s, s:o}", "id", id, "method", method, "params",
                     params ? params : json_object());
}

json_t *rpc_answer(const char *id, json_t *result)
{
    return json_pack("{s:s, s:o}", "id", id, "result", result ? result : json_object());
}

json_t *rpc_refusal(const char *id, const struct err *why)
{
    return json_pack("{s:s, s:{s:s, s:s%}}", "id", id, "error", "code",
                     err_code_name(why->code), "text", why->text, strlen(why->text));
}

json_t *rpc_progress(const char *id, json_t *what)
{
    return json_pack("{s:s, s:o}", "id", id, "progress", what);
}

json_t *rpc_event(const char *event, json_t *data)
{
    return json_pack("{s:s, s:o}", "event", event, "data", data ? data : json_object());
}

int rpc_error_of(const json_t *answer, struct err *err)
{
    json_t *error = json_object_get(answer, "error");
    if (!error)
        return 0;
    const char *code = json_string_value(json_object_get(error, "code"));
    const char *text = json_string_value(json_object_get(error, "text"));
    return err_set(err, code ? err_code_parse(code) : E_PROTO, "%s",
                   text ? text : "an error without a text");
}

int rpc_unpack(json_t *from, struct err *err, const char *what, const char *fmt, ...)
{
    json_error_t je;
    va_list ap;
    va_start(ap, fmt);
    int r = json_vunpack_ex(from, &je, 0, fmt, ap);
    va_end(ap);
    return r < 0 ? err_set(err, E_PROTO, "%s: %s", what, je.text) : 0;
}
