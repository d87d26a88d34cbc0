/* SPDX-License-Identifier: Apache-2.0 */
/* struct profile: making, copying, freeing, and its JSON form. All of it walks the
 * table in fields.c, so a new field needs one line there and none here. */
#include "profile/profile.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "profile/fields.h"

OWN_CLEANUP(json_t, json_decref)

struct profile *profile_new(void)
{
    struct profile *p = calloc(1, sizeof *p);
    if (p && profile_fields_init(profile_fields, p) < 0) {
        profile_free(p);
        return NULL;
    }
    return p;
}

void profile_free(struct profile *p)
{
    if (!p)
        return;
    profile_fields_done(profile_fields, p);
    free(p);
}

struct profile *profile_copy(const struct profile *p)
{
    AUTO_T(json_t) json = profile_to_json(p);
    struct profile *copy = NULL;
    if (!json || profile_from_json(json, &copy, NULL) < 0)
        return NULL;
    return copy;
}

/* Take value in; without memory the array is gone. */
static void append(json_t **array, json_t *value)
{
    if (json_array_append_new(*array, value) < 0) {
        json_decref(*array);
        *array = NULL;
    }
}

static json_t *value_to_json(const struct profile_field *f, const void *base)
{
    const void *at = (const char *)base + f->offset;
    switch (f->kind) {
    case FIELD_STR:
    case FIELD_NAME:
    case FIELD_PATH:
    case FIELD_IMAGE:
    case FIELD_MAC:
        return json_string(*(char *const *)at);
    case FIELD_U32:
        return json_integer(*(const uint32_t *)at);
    case FIELD_U64:
    case FIELD_BYTES:
    case FIELD_MS:
        return json_integer((json_int_t) * (const uint64_t *)at);
    case FIELD_BOOL:
        return json_boolean(*(const bool *)at);
    case FIELD_ENUM:
        return json_string(f->words[*(const int *)at]);
    case FIELD_U32S: {
        const struct profile_u32s *l = at;
        json_t *a = json_array();
        for (size_t i = 0; a && i < l->count; i++)
            append(&a, json_integer(l->at[i]));
        return a;
    }
    case FIELD_STRS: {
        const struct profile_strs *l = at;
        json_t *a = json_array();
        for (size_t i = 0; a && i < l->count; i++)
            append(&a, json_string(l->at[i]));
        return a;
    }
    case FIELD_LIST: {
        size_t count = *(const size_t *)((const char *)base + f->count_offset);
        json_t *a = json_array();
        for (size_t i = 0; a && i < count; i++)
            append(&a, profile_fields_json(f->fields,
                                           *(char *const *)at + i * f->item_size));
        return a;
    }
    }
    return NULL;
}

static bool is_empty(const struct profile_field *f, const void *base)
{
    const void *at = (const char *)base + f->offset;
    if (f->kind <= FIELD_MAC)
        return !*(char *const *)at;
    if (f->kind == FIELD_U32S)
        return !((const struct profile_u32s *)at)->count;
    if (f->kind == FIELD_STRS)
        return !((const struct profile_strs *)at)->count;
    if (f->kind == FIELD_LIST)
        return !*(const size_t *)((const char *)base + f->count_offset);
    return false;
}

json_t *profile_fields_json(const struct profile_field *fields, const void *base)
{
    json_t *o = json_object();
    for (const struct profile_field *f = fields; o && f->name; f++) {
        if (is_empty(f, base))
            continue;
        if (json_object_set_new(o, f->name, value_to_json(f, base)) < 0) {
            json_decref(o);
            return NULL;
        }
    }
    return o;
}

json_t *profile_to_json(const struct profile *p)
{
    return profile_fields_json(profile_fields, p);
}

static int fields_from_json(const struct profile_field *fields, void *base,
                            const json_t *json, const char *where, struct err *err);

static int kind_error(const char *what, const char *want, struct err *err)
{
    return err_set(err, E_INPUT, "%s: must be %s", what, want);
}

static int number_from_json(const struct profile_field *f, void *base,
                            const json_t *value, const char *what, struct err *err)
{
    void *at = (char *)base + f->offset;
    if (!json_is_integer(value))
        return kind_error(what, "a whole number", err);
    json_int_t n = json_integer_value(value);
    if (n < 0 || (uint64_t)n < f->min || (uint64_t)n > f->max)
        return err_set(err, E_INPUT,
                       "%s: %" JSON_INTEGER_FORMAT " is out of bounds: %" PRIu64
                       " to %" PRIu64,
                       what, n, f->min, f->max);
    if (f->kind == FIELD_U32)
        *(uint32_t *)at = (uint32_t)n;
    else
        *(uint64_t *)at = (uint64_t)n;
    return 0;
}

/* Arrays of numbers or words go through their text form: one set of checks. */
static int array_from_json(const struct profile_field *f, void *base,
                           const json_t *value, const char *what, struct err *err)
{
    AUTO_BUF b = {0};
    size_t i;
    json_t *v;
    if (!json_is_array(value))
        return kind_error(what, "an array", err);
    if (json_array_size(value) > f->max)
        return err_set(err, E_INPUT, "%s: more than %" PRIu64 " items", what, f->max);
    json_array_foreach (value, i, v) {
        if (f->kind == FIELD_U32S) {
            if (!json_is_integer(v) || json_integer_value(v) < 0)
                return kind_error(what, "an array of whole numbers", err);
            str_buf_printf(&b, "%s%" JSON_INTEGER_FORMAT, i ? "," : "",
                           json_integer_value(v));
            continue;
        }
        const char *s = json_string_value(v);
        if (!s || !*s || strlen(s) != json_string_length(v) || strpbrk(s, " ,"))
            return kind_error(what, "an array of words", err);
        str_buf_printf(&b, "%s%s", i ? " " : "", s);
    }
    AUTO_STR text = str_buf_take(&b);
    if (!text)
        return err_oom(err);
    return profile_field_set(f, base, text, what, err);
}

static int list_from_json(const struct profile_field *f, void *base,
                          const json_t *value, const char *what, struct err *err)
{
    size_t i;
    json_t *v;
    if (!json_is_array(value))
        return kind_error(what, "an array", err);
    if (json_array_size(value) > f->max)
        return err_set(err, E_INPUT, "%s: more than %" PRIu64 " items", what, f->max);
    json_array_foreach (value, i, v) {
        char where[96];
        snprintf(where, sizeof where, "%s[%zu]", what, i);
        void *item = profile_list_grow(f, base);
        if (!item)
            return err_oom(err);
        if (fields_from_json(f->fields, item, v, where, err) < 0)
            return -1;
    }
    return 0;
}

static int value_from_json(const struct profile_field *f, void *base,
                           const json_t *value, const char *what, struct err *err)
{
    switch (f->kind) {
    case FIELD_U32:
    case FIELD_U64:
    case FIELD_BYTES:
    case FIELD_MS:
        return number_from_json(f, base, value, what, err);
    case FIELD_BOOL:
        if (!json_is_boolean(value))
            return kind_error(what, "true or false", err);
        *(bool *)((char *)base + f->offset) = json_is_true(value);
        return 0;
    case FIELD_U32S:
    case FIELD_STRS:
        return array_from_json(f, base, value, what, err);
    case FIELD_LIST:
        return list_from_json(f, base, value, what, err);
    default:
        break;
    }
    const char *s = json_string_value(value);
    if (!s || strlen(s) != json_string_length(value))
        return kind_error(what, "a text", err);
    return profile_field_set(f, base, s, what, err);
}

static int unknown_key(const struct profile_field *fields, const char *key,
                       const char *where, struct err *err)
{
    const char *names[64] = {NULL};
    for (size_t i = 0; fields[i].name && i < ARRAY_SIZE(names) - 1; i++)
        names[i] = fields[i].name;
    const char *near = str_nearest(key, names);
    if (near)
        return err_set(err, E_INPUT, "%s%sunknown field '%.60s'; did you mean '%s'?",
                       where, *where ? ": " : "", key, near);
    return err_set(err, E_INPUT, "%s%sunknown field '%.60s'", where, *where ? ": " : "",
                   key);
}

static int fields_from_json(const struct profile_field *fields, void *base,
                            const json_t *json, const char *where, struct err *err)
{
    if (!json_is_object(json))
        return kind_error(*where ? where : "profile", "an object", err);
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)json, key, value) {
        const struct profile_field *f = fields;
        while (f->name && strcmp(f->name, key))
            f++;
        if (!f->name)
            return unknown_key(fields, key, where, err);
        char what[160];
        snprintf(what, sizeof what, "%s%s%s", where, *where ? "." : "", key);
        if (value_from_json(f, base, value, what, err) < 0)
            return -1;
    }
    return 0;
}

int profile_name_parts(struct profile *p)
{
    for (size_t i = 0; i < p->disk_count; i++)
        if (!p->disks[i].id && !(p->disks[i].id = str_printf("disk%zu", i + 1)))
            return -1;
    for (size_t i = 0; i < p->share_count; i++)
        if (!p->shares[i].tag && !(p->shares[i].tag = str_printf("share%zu", i + 1)))
            return -1;
    return 0;
}

int profile_from_json(const json_t *json, struct profile **out, struct err *err)
{
    AUTO(profile) p = profile_new();
    if (!p)
        return err_oom(err);
    if (fields_from_json(profile_fields, p, json, "", err) < 0)
        return -1;
    if (!p->name)
        return err_set(err, E_INPUT, "name: is missing");
    if (profile_name_parts(p) < 0)
        return err_oom(err);
    *out = move(p);
    return 0;
}
