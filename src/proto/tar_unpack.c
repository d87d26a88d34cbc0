/* SPDX-License-Identifier: Apache-2.0 */
/* Unpacking a tar stream that is not trusted; see tar.h. Every name is resolved from
 * the destination's descriptor, beneath it and through no link (openat2). */
#include "proto/tar.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/fd.h"
#include "base/str.h"
#include "proto/tar_int.h"

/* A directory gets its mode and time when all below it is there. */
struct later {
    char *name;
    mode_t mode;
    struct timespec mtime;
};

struct unpacker {
    int fd, root;
    const char *rename; /* what the first component becomes; NULL: stays */
    struct tar_tally tally;
    char *path, *link; /* from a pax header, for the next entry */
    bool has_size;
    uint64_t size;
    struct later *later;
    size_t nlater, later_size;
    char *copy;
};

static int bad(struct err *err, const char *what)
{
    return err_set(err, E_INPUT, "the archive is damaged: %s", what);
}

static bool octal(const char *p, size_t len, uint64_t *out)
{
    uint64_t v = 0;
    size_t i = 0;
    while (i < len && p[i] == ' ')
        i++;
    for (; i < len && p[i] && p[i] != ' '; i++) {
        if (p[i] < '0' || p[i] > '7' || v >> 60)
            return false;
        v = v << 3 | (unsigned)(p[i] - '0');
    }
    *out = v;
    return true;
}

/* Read and drop size bytes and what fills their block. */
static int skip(struct unpacker *u, uint64_t size, struct err *err)
{
    uint64_t left = (size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
    while (left > 0) {
        size_t n = left < TAR_COPY ? left : TAR_COPY;
        if (fd_read_all(u->fd, u->copy, n, err) < 0)
            return -1;
        left -= n;
    }
    return 0;
}

/* The name without leading and doubled slashes, first component renamed. E_INPUT for
 * anything that could lead elsewhere. */
static int clean_name(struct unpacker *u, const char *name, char **out, struct err *err)
{
    AUTO_BUF b = {0};
    if (*name == '/' || strlen(name) >= PATH_MAX)
        return bad(err, "an absolute or endless name");
    for (const char *p = name; *p;) {
        size_t n = strcspn(p, "/");
        if (n == 0) {
            p++;
            continue;
        }
        if (p[0] == '.' && (n == 1 || (n == 2 && p[1] == '.')))
            return bad(err, "a name with . or ..");
        if (b.len)
            str_buf_puts(&b, "/");
        if (!b.len && u->rename)
            str_buf_puts(&b, u->rename);
        else
            str_buf_add(&b, p, n);
        p += n;
    }
    if (!b.len)
        return bad(err, "an empty name");
    return (*out = str_buf_take(&b)) ? 0 : err_oom(err);
}

static int open_beneath(int root, const char *name, uint64_t flags)
{
    struct open_how how = {.flags = flags | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
                                      RESOLVE_NO_MAGICLINKS};
    return syscall(SYS_openat2, root, name, &how, sizeof how);
}

/* The directory name is in; *leaf is its last component. */
static int open_parent(struct unpacker *u, const char *name, const char **leaf,
                       struct err *err)
{
    const char *slash = strrchr(name, '/');
    *leaf = slash ? slash + 1 : name;
    AUTO_STR dir = slash ? strndup(name, slash - name) : strdup(".");
    if (!dir)
        return err_oom(err);
    int fd = open_beneath(u->root, dir, O_PATH | O_DIRECTORY);
    return fd < 0 ? err_sys(err, "'%s'", name) : fd;
}

static int make_directory(struct unpacker *u, int at, const char *leaf,
                          const char *name, const struct stat *st, struct err *err)
{
    struct stat old;
    if (mkdirat(at, leaf, 0700) < 0 &&
        (errno != EEXIST || fstatat(at, leaf, &old, AT_SYMLINK_NOFOLLOW) < 0 ||
         !S_ISDIR(old.st_mode)))
        return err_sys(err, "directory '%s'", name);
    if (u->nlater == u->later_size) {
        size_t size = u->later_size ? 2 * u->later_size : 16;
        struct later *more = realloc(u->later, size * sizeof *more);
        if (!more)
            return err_oom(err);
        u->later = more;
        u->later_size = size;
    }
    struct later l = {strdup(name), st->st_mode & 0777, st->st_mtim};
    if (!l.name)
        return err_oom(err);
    u->later[u->nlater++] = l;
    return 0;
}

/* Make room for a new entry: what is there may go if it is a file, link or pipe, but
 * nothing else (a device, say) is taken for one. */
static int make_room(int at, const char *leaf, const char *name, struct err *err)
{
    struct stat st;
    if (fstatat(at, leaf, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_sys(err, "'%s'", name);
    if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode) && !S_ISFIFO(st.st_mode))
        return err_set(err, E_EXISTS, "'%s' is there already and is not a file", name);
    return unlinkat(at, leaf, 0) < 0 ? err_sys(err, "'%s'", name) : 0;
}

static int make_file(struct unpacker *u, int at, const char *leaf, const char *name,
                     const struct stat *st, struct err *err)
{
    uint64_t left = st->st_size;
    if (make_room(at, leaf, name, err) < 0)
        return -1;
    AUTO_FD fd =
        openat(at, leaf, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(err, "'%s'", name);
    while (left > 0) {
        size_t n = left < TAR_COPY ? left : TAR_COPY;
        if (fd_read_all(u->fd, u->copy, n, err) < 0)
            return err_at(err, "'%s'", name);
        if (fd_write_all(fd, u->copy, n, err) < 0)
            return err_at(err, "'%s'", name);
        left -= n;
        u->tally.bytes += n;
        tar_progress(&u->tally, false);
    }
    size_t rest = st->st_size % TAR_BLOCK;
    if (rest && fd_read_all(u->fd, u->copy, TAR_BLOCK - rest, err) < 0)
        return -1;
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, st->st_mtim};
    if (fchmod(fd, st->st_mode & 0777) < 0 || futimens(fd, times) < 0)
        return err_sys(err, "'%s'", name);
    int own = move_fd(fd);
    return close(own) < 0 ? err_sys(err, "'%s'", name) : 0; /* NFS tells here */
}

static int make_other(char type, int at, const char *leaf, const char *link,
                      const char *name, mode_t mode, struct err *err)
{
    if (make_room(at, leaf, name, err) < 0)
        return -1;
    int r = type == '2' ? symlinkat(link, at, leaf) : mkfifoat(at, leaf, mode & 0777);
    return r < 0 ? err_sys(err, "'%s'", name) : 0;
}

static int take_entry(struct unpacker *u, char type, const char *raw, const char *link,
                      const struct stat *st, struct err *err)
{
    AUTO_STR name = NULL;
    const char *leaf;
    if (clean_name(u, raw, &name, err) < 0)
        return -1;
    AUTO_FD at = open_parent(u, name, &leaf, err);
    if (at < 0)
        return -1;
    switch (type) {
    case '0':
    case '\0':
        if (make_file(u, at, leaf, name, st, err) < 0)
            return -1;
        break;
    case '5':
        if (make_directory(u, at, leaf, name, st, err) < 0)
            return -1;
        return skip(u, st->st_size, err);
    case '2':
    case '6':
        if (make_other(type, at, leaf, link, name, st->st_mode, err) < 0)
            return -1;
        if (skip(u, st->st_size, err) < 0)
            return -1;
        break;
    default:
        tar_warn(&u->tally, name, "a kind of entry that is not taken from archives");
        return skip(u, st->st_size, err);
    }
    tar_progress(&u->tally, true);
    return 0;
}

/* "LENGTH key=value\n" records of a pax header. */
static int take_pax(struct unpacker *u, char *text, size_t len, struct err *err)
{
    for (size_t at = 0; at < len;) {
        char *space = memchr(text + at, ' ', len - at);
        uint64_t n = 0;
        if (space)
            *space = '\0';
        if (!space || !str_to_u64(text + at, &n) || n > len - at ||
            at + n <= (size_t)(space + 1 - text) || text[at + n - 1] != '\n')
            return bad(err, "an extended header");
        text[at + n - 1] = '\0';
        char *key = space + 1, *value = strchr(key, '=');
        if (!value)
            return bad(err, "an extended header");
        *value++ = '\0';
        char **to = !strcmp(key, "path")       ? &u->path
                    : !strcmp(key, "linkpath") ? &u->link
                                               : NULL;
        if (to) {
            free(*to);
            if (!(*to = strdup(value)))
                return err_oom(err);
        } else if (!strcmp(key, "size")) {
            if (!str_to_u64(value, &u->size) || u->size > INT64_MAX / 2)
                return bad(err, "a size");
            u->has_size = true;
        }
        at += n;
    }
    return 0;
}

static int read_extra(struct unpacker *u, char type, uint64_t size, struct err *err)
{
    if (size > TAR_PAX_MAX)
        return bad(err, "an endless extended header");
    size_t whole = (size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
    AUTO_STR text = malloc(whole + 1);
    if (!text)
        return err_oom(err);
    if (fd_read_all(u->fd, text, whole, err) < 0)
        return -1;
    text[size] = '\0';
    if (type == 'x')
        return take_pax(u, text, size, err);
    if (type == 'L' || type == 'K') {
        char **to = type == 'L' ? &u->path : &u->link;
        free(*to);
        *to = move(text);
    }
    return 0;
}

static char *joined_name(const struct tar_header *h)
{
    if (memcmp(h->magic, "ustar", 5) || h->magic[5] || !h->prefix[0])
        return strndup(h->name, sizeof h->name);
    return str_printf("%.*s/%.*s", (int)sizeof h->prefix, h->prefix,
                      (int)sizeof h->name, h->name);
}

/* 1: the archive's end; 0: an entry was taken. */
static int take_header(struct unpacker *u, struct err *err)
{
    struct tar_header h;
    static const struct tar_header end;
    uint64_t sum, size, mode, mtime;
    if (fd_read_all(u->fd, &h, sizeof h, err) < 0)
        return err_at(err, "the archive is cut off");
    if (!memcmp(&h, &end, sizeof h))
        return 1;
    if (!octal(h.sum, sizeof h.sum, &sum) || sum != tar_sum(&h) ||
        !octal(h.size, sizeof h.size, &size) || !octal(h.mode, sizeof h.mode, &mode) ||
        !octal(h.mtime, sizeof h.mtime, &mtime))
        return bad(err, "a header");
    if (h.type == 'x' || h.type == 'g' || h.type == 'L' || h.type == 'K')
        return read_extra(u, h.type, size, err);
    AUTO_STR name = u->path ? move(u->path) : joined_name(&h);
    AUTO_STR link = u->link ? move(u->link) : strndup(h.link, sizeof h.link);
    if (!name || !link)
        return err_oom(err);
    struct stat st = {.st_size = u->has_size ? u->size : size,
                      .st_mode = mode,
                      .st_mtim = {.tv_sec = mtime}};
    u->has_size = false;
    return take_entry(u, h.type, name, link, &st, err);
}

static void finish_directories(struct unpacker *u)
{
    while (u->nlater > 0) {
        struct later *l = &u->later[--u->nlater];
        AUTO_FD fd = open_beneath(u->root, l->name, O_RDONLY | O_DIRECTORY);
        struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, l->mtime};
        if (fd >= 0 && (fchmod(fd, l->mode) < 0 || futimens(fd, times) < 0))
            tar_warn(&u->tally, l->name, "its mode and time could not be set");
        free(l->name);
    }
    free(u->later);
}

/* Open the directory things go to, and see what their first component becomes. */
static int open_dest(struct unpacker *u, const char *dest, char **own, struct err *err)
{
    u->root = open(dest, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (u->root >= 0)
        return 0;
    size_t n = strlen(dest);
    if (errno != ENOENT && errno != ENOTDIR)
        return err_sys(err, "'%s'", dest);
    if (!n || dest[n - 1] == '/')
        return err_sys(err, "directory '%s'", dest);
    char *slash;
    if (!(*own = strdup(dest)))
        return err_oom(err);
    slash = strrchr(*own, '/');
    u->rename = slash ? slash + 1 : *own;
    if (!strcmp(u->rename, ".") || !strcmp(u->rename, ".."))
        return err_sys(err, "directory '%s'", dest);
    if (slash)
        *slash = '\0';
    u->root = open(!slash          ? "."
                   : slash == *own ? "/"
                                   : *own,
                   O_PATH | O_DIRECTORY | O_CLOEXEC);
    return u->root < 0 ? err_sys(err, "'%s'", dest) : 0;
}

int tar_unpack(int fd, const char *dest, const struct tar_hooks *hooks, struct err *err)
{
    AUTO_STR own = NULL;
    AUTO_STR copy = malloc(TAR_COPY);
    struct unpacker u = {.fd = fd, .root = -1, .tally = {.hooks = hooks}, .copy = copy};
    if (!copy)
        return err_oom(err);
    if (open_dest(&u, dest, &own, err) < 0)
        return -1;
    int r;
    while ((r = take_header(&u, err)) == 0)
        ;
    finish_directories(&u);
    free(u.path);
    free(u.link);
    close(u.root);
    if (r < 0)
        return -1;
    /* What fills the last record, so that the writer is not cut off. */
    ssize_t n;
    while ((n = read(fd, copy, TAR_COPY)) > 0 || (n < 0 && errno == EINTR))
        ;
    return 0;
}
