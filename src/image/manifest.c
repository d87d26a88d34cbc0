/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests: reading, checking, the digest; see the header. */
#include "image/manifest.h"

#include <string.h>

#include "base/fd.h"
#include "base/own.h"
#include "base/str.h"
#include "image/hash.h"

enum { MANIFEST_MAX = 16 << 20 };

static bool is_hex64(const char *s)
{
    return s && strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}

static int check_outputs(const json_t *outputs, struct err *err)
{
    const char *name;
    json_t *o;
    json_object_foreach ((json_t *)outputs, name, o) {
        if (!is_hex64(json_string_value(json_object_get(o, "sha256"))) ||
            !json_is_integer(json_object_get(o, "size")))
            return err_set(err, E_INPUT, "output '%s' has no sha256 and size", name);
    }
    return 0;
}

int manifest_check(const json_t *m, struct err *err)
{
    const json_t *content = json_object_get(m, "content");
    const json_t *outputs = json_object_get(content, "outputs");
    if (json_integer_value(json_object_get(m, "schema")) != 1)
        return err_set(err, E_INPUT, "not an image manifest of schema 1");
    static const char *const need[] = {"name", "version", "kind", "root_format"};
    for (size_t i = 0; i < ARRAY_SIZE(need); i++)
        if (!json_is_string(json_object_get(content, need[i])))
            return err_set(err, E_INPUT, "content has no '%s'", need[i]);
    if (!str_is_name(json_string_value(json_object_get(content, "name"))) ||
        !str_is_name(json_string_value(json_object_get(content, "version"))))
        return err_set(err, E_INPUT, "name or version is not a name");
    if (!json_is_object(outputs))
        return err_set(err, E_INPUT, "content has no 'outputs'");
    return check_outputs(outputs, err);
}

int manifest_parse(const char *text, size_t len, const char *path, json_t **out,
                   struct err *err)
{
    json_error_t je;
    json_t *m = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
    if (!m)
        return err_set(err, E_INPUT, "%s:%d: %s", path, je.line, je.text);
    if (manifest_check(m, err) < 0) {
        json_decref(m);
        return err_at(err, "%s", path);
    }
    *out = m;
    return 0;
}

int manifest_load(const char *path, json_t **out, struct err *err)
{
    AUTO_STR text = NULL;
    size_t len;
    return fd_read_file(path, MANIFEST_MAX, &text, &len, err) < 0
               ? -1
               : manifest_parse(text, len, path, out, err);
}

char *manifest_digest(const json_t *m)
{
    AUTO_STR text =
        json_dumps(json_object_get(m, "content"), JSON_SORT_KEYS | JSON_COMPACT);
    if (!text)
        return NULL;
    char hex[HASH_HEX_SIZE];
    hash_bytes(text, strlen(text), hex);
    return str_printf("sha256:%s", hex);
}

const char *manifest_text(const json_t *m, const char *key)
{
    return json_string_value(json_object_get(json_object_get(m, "content"), key));
}

const char *manifest_output(const json_t *m, const char *output)
{
    const json_t *outputs = json_object_get(json_object_get(m, "content"), "outputs");
    return json_string_value(
        json_object_get(json_object_get(outputs, output), "sha256"));
}
