/* SPDX-License-Identifier: Apache-2.0 */
/* Users and groups of the guest; see the header. The files are small and ours to write:
 * they are read whole, changed as lines, and replaced. */
#include "guest/users.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/str.h"
#include "guest/identity.h"
#include "proto/rpc.h"

enum { FILE_MAX = 4 << 20 };

/* Field n (from 0) of a line with colons into buf; false if there is none. */
static bool field(const char *line, size_t len, int n, char *buf, size_t size)
{
    const char *end = line + len;
    for (; n > 0; n--) {
        line = memchr(line, ':', end - line);
        if (!line++)
            return false;
    }
    const char *colon = memchr(line, ':', end - line);
    snprintf(buf, size, "%.*s", (int)((colon ? colon : end) - line), line);
    return true;
}

void users_find(uid_t uid, struct user *out)
{
    AUTO_STR text = NULL;
    char number[24], want[24];
    snprintf(want, sizeof want, "%u", (unsigned)uid);
    snprintf(out->name, sizeof out->name, "%u", (unsigned)uid);
    snprintf(out->home, sizeof out->home, "/");
    snprintf(out->shell, sizeof out->shell, "/bin/sh");
    if (fd_read_file("/etc/passwd", FILE_MAX, &text, NULL, NULL) < 0)
        return;
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, "\n");
        if (field(p, n, 2, number, sizeof number) && !strcmp(number, want)) {
            field(p, n, 0, out->name, sizeof out->name);
            field(p, n, 5, out->home, sizeof out->home);
            field(p, n, 6, out->shell, sizeof out->shell);
            if (!*out->shell)
                snprintf(out->shell, sizeof out->shell, "/bin/sh");
            return;
        }
        p += n + (p[n] == '\n');
    }
}

/* Put `line` in the place of the one with the same first field, or at the end. */
static void set_line(struct str_buf *file, const char *name, const char *line)
{
    AUTO_BUF out = {0};
    bool done = false;
    size_t len = strlen(name);
    for (const char *p = file->data ? file->data : ""; *p;) {
        size_t n = strcspn(p, "\n");
        bool same = n > len && !strncmp(p, name, len) && p[len] == ':';
        if (same && !done)
            str_buf_printf(&out, "%s\n", line);
        else if (!same && n)
            str_buf_printf(&out, "%.*s\n", (int)n, p);
        done |= same;
        p += n + (p[n] == '\n');
    }
    if (!done)
        str_buf_printf(&out, "%s\n", line);
    str_buf_done(file);
    *file = out;
    out = (struct str_buf){0};
}

static bool is_plain(const char *s)
{
    return s && !strpbrk(s, ":\n") && strlen(s) < 256;
}

static void load(const char *path, struct str_buf *b)
{
    AUTO_STR text = NULL;
    if (fd_read_file(path, FILE_MAX, &text, NULL, NULL) == 0)
        str_buf_puts(b, text);
}

static int apply_groups(const json_t *groups, json_t *warnings, struct err *err)
{
    AUTO_BUF file = {0};
    size_t i, k;
    json_t *g, *member;
    load("/etc/group", &file);
    json_array_foreach (groups, i, g) {
        const char *name = NULL;
        json_int_t gid = -1;
        json_t *members = NULL;
        json_unpack(g, "{s:s, s:I, s?o}", "name", &name, "gid", &gid, "members",
                    &members);
        AUTO_BUF line = {0};
        if (!is_plain(name) || !*name || gid < 0 || gid >= UINT32_MAX) {
            identity_warn(warnings, "group %zu of the identity is wrong", i + 1);
            continue;
        }
        str_buf_printf(&line, "%s:x:%lld:", name, (long long)gid);
        json_array_foreach (members, k, member)
            if (is_plain(json_string_value(member)))
                str_buf_printf(&line, "%s%s", k ? "," : "", json_string_value(member));
        if (line.data)
            set_line(&file, name, line.data);
    }
    if (file.failed)
        return err_oom(err);
    return fd_replace_file("/etc/group", file.data, file.len, 0644, err);
}

static void make_home(const char *home, uid_t uid, gid_t gid, json_t *warnings)
{
    struct stat st;
    struct err err;
    if (stat(home, &st) == 0 || !strcmp(home, "/"))
        return;
    AUTO_STR parent = strdup(home);
    char *slash = parent ? strrchr(parent, '/') : NULL;
    if (slash && slash != parent) {
        *slash = '\0';
        if (fd_mkdirs(parent, 0755, &err) < 0) {
            identity_warn(warnings, "home '%s': %s", home, err.text);
            return;
        }
    }
    if (mkdir(home, 0700) < 0 || chown(home, uid, gid) < 0)
        identity_warn(warnings, "home '%s': %s", home, strerror(errno));
}

static int apply_users(const json_t *users, json_t *warnings, struct err *err)
{
    AUTO_BUF file = {0};
    size_t i;
    json_t *u;
    load("/etc/passwd", &file);
    json_array_foreach (users, i, u) {
        const char *name = NULL, *home = "/", *shell = "/bin/sh", *gecos = "";
        json_int_t uid = -1, gid = -1;
        json_unpack(u, "{s:s, s:I, s:I, s?s, s?s, s?s}", "name", &name, "uid", &uid,
                    "gid", &gid, "home", &home, "shell", &shell, "gecos", &gecos);
        if (!is_plain(name) || !*name || uid < 0 || gid < 0 || uid >= UINT32_MAX ||
            gid >= UINT32_MAX || !is_plain(home) || *home != '/' || !is_plain(shell) ||
            !is_plain(gecos)) {
            identity_warn(warnings, "user %zu of the identity is wrong", i + 1);
            continue;
        }
        /* A shell the image lacks would keep its user out. */
        if (access(shell, X_OK) < 0)
            shell = "/bin/sh";
        AUTO_STR line = str_printf("%s:x:%lld:%lld:%s:%s:%s", name, (long long)uid,
                                   (long long)gid, gecos, home, shell);
        if (!line)
            return err_oom(err);
        set_line(&file, name, line);
        make_home(home, uid, gid, warnings);
    }
    if (file.failed)
        return err_oom(err);
    return fd_replace_file("/etc/passwd", file.data, file.len, 0644, err);
}

int users_apply(const json_t *groups, const json_t *users, json_t *warnings,
                struct err *err)
{
    if (groups && apply_groups(groups, warnings, err) < 0)
        return -1;
    return users ? apply_users(users, warnings, err) : 0;
}
