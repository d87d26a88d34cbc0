/* SPDX-License-Identifier: Apache-2.0 */
/* Names in the store; see the header and store.h. Nothing is written here. */
#include "image/files.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/dirs.h"
#include "base/fd.h"
#include "base/str.h"
#include "image/manifest.h"

OWN_CLEANUP(json_t, json_decref)
OWN_CLEANUP(DIR, closedir)

enum { STORES_MAX = 16 };

void files_stores_free(struct files_stores *s)
{
    if (!s)
        return;
    for (char **d = s->dirs; d && *d; d++)
        free(*d);
    free(s->dirs);
    free(s);
}

static int add_store(struct files_stores *s, char *dir, struct err *err)
{
    if (!dir)
        return err_oom(err);
    size_t n = 0;
    for (; s->dirs[n]; n++)
        if (!strcmp(s->dirs[n], dir))
            break;
    if (s->dirs[n] || n == STORES_MAX)
        free(dir);
    else
        s->dirs[n] = dir;
    return 0;
}

int files_stores(struct files_stores **out, struct err *err)
{
    AUTO(files_stores) s = calloc(1, sizeof *s);
    if (!s || !(s->dirs = calloc(STORES_MAX + 1, sizeof *s->dirs)))
        return err_oom(err);
    if (add_store(s, dirs_path(DIRS_STATE, "images"), err) < 0 ||
        add_store(s, strdup(LODGE_LOCALSTATEDIR "/lib/lodge/images"), err) < 0)
        return -1;
    const char *more = getenv("LODGE_IMAGE_PATH");
    while (!str_empty(more)) {
        size_t n = strcspn(more, ":");
        if (n && more[0] == '/' && add_store(s, strndup(more, n), err) < 0)
            return -1;
        more += n + (more[n] == ':');
    }
    *out = move(s);
    return 0;
}

char *files_blob(const char *store, const char *sum)
{
    return str_printf("%s/blobs/sha256/%s", store, sum);
}

int files_split(const char *ref, char **name, char **what, struct err *err)
{
    const char *at = strchr(ref, '@');
    AUTO_STR n = at ? strndup(ref, at - ref) : strdup(ref);
    AUTO_STR w = at ? strdup(at + 1) : NULL;
    if (!n || (at && !w))
        return err_oom(err);
    const char *word = w && str_starts(w, "sha256:") ? w + 7 : w;
    if (!str_is_name(n))
        return err_set(err, E_INPUT,
                       "'%s' is not an image's name: letters, digits and "
                       "._- , or NAME@VERSION, or an absolute path",
                       ref);
    bool hex = word && word != w && *word && strlen(word) <= 64 &&
               strspn(word, "0123456789abcdef") == strlen(word);
    if (w && !hex && !str_is_name(w))
        return err_set(err, E_INPUT, "'%s' is neither version, tag nor digest", w);
    *name = move(n);
    *what = move(w);
    return 0;
}

int files_tag(const char *store, const char *name, const char *tag, char **version,
              struct err *err)
{
    AUTO_STR path = str_printf("%s/tags/%s/%s", store, name, tag);
    AUTO_STR text = NULL;
    size_t len;
    if (!path)
        return err_oom(err);
    if (fd_read_file(path, 1 << 20, &text, &len, err) < 0)
        return -1;
    while (len && text[len - 1] == '\n')
        text[--len] = '\0';
    char *line = strrchr(text, '\n');
    line = line ? line + 1 : text;
    if (!str_is_name(line))
        return err_set(err, E_INPUT, "'%s' does not end in a version", path);
    return (*version = strdup(line)) ? 0 : err_oom(err);
}

static char *manifest_path(const char *store, const char *name, const char *version)
{
    return str_printf("%s/manifests/%s/%s.json", store, name, version);
}

/* The one version of the image whose digest begins with `begin`. */
static int by_digest(const char *store, const char *name, const char *begin,
                     char **path, struct err *err)
{
    AUTO_STR dir = str_printf("%s/manifests/%s", store, name);
    if (!dir)
        return err_oom(err);
    AUTO_T(DIR) d = opendir(dir);
    struct dirent *e;
    AUTO_STR found = NULL;
    while (d && (e = readdir(d))) {
        if (!str_ends(e->d_name, ".json"))
            continue;
        AUTO_STR file = str_printf("%s/%s", dir, e->d_name);
        AUTO_T(json_t) m = NULL;
        if (!file || manifest_load(file, &m, NULL) < 0)
            continue;
        AUTO_STR digest = manifest_digest(m);
        if (!digest || !str_starts(digest, begin))
            continue;
        if (found)
            return err_set(err, E_INPUT, "'%s@%s' is more than one version", name,
                           begin);
        found = move(file);
    }
    if (!found)
        return err_set(err, E_NOENT, "no version '%s' of image '%s'", begin, name);
    *path = move(found);
    return 0;
}

static int in_store(const char *store, const char *name, const char *what, char **path,
                    struct err *err)
{
    if (what && str_starts(what, "sha256:"))
        return by_digest(store, name, what, path, err);
    AUTO_STR version = NULL;
    if (files_tag(store, name, what ? what : "latest", &version, NULL) < 0 && what)
        version = strdup(what);
    AUTO_STR p = version ? manifest_path(store, name, version) : NULL;
    if (!p || access(p, F_OK) < 0)
        return err_set(err, E_NOENT, "no such image here");
    *path = move(p);
    return 0;
}

int files_resolve(const char *ref, char **store, char **path, struct err *err)
{
    AUTO_STR name = NULL;
    AUTO_STR what = NULL;
    AUTO(files_stores) s = NULL;
    if (files_split(ref, &name, &what, err) < 0 || files_stores(&s, err) < 0)
        return -1;
    struct err last = {0};
    for (char **d = s->dirs; *d; d++) {
        AUTO_STR p = NULL;
        if (in_store(*d, name, what, &p, &last) == 0) {
            if (!(*store = strdup(*d)))
                return err_oom(err);
            *path = move(p);
            return 0;
        }
        if (last.code == E_INPUT)
            return err_set(err, E_INPUT, "%s", last.text);
    }
    return err_set(err, E_NOENT,
                   "no image '%s' in %s; 'lodge image list' shows what there is, "
                   "'lodge image build' makes it",
                   ref, s->dirs[0]);
}
