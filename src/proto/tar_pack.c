/* SPDX-License-Identifier: Apache-2.0 */
/* Packing into a tar stream; see tar.h. */
#include "proto/tar.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/str.h"
#include "proto/tar_int.h"

struct packer {
    int fd;
    struct tar_tally tally;
    char *copy;
};

void tar_progress(struct tar_tally *t, bool file)
{
    t->files += file;
    if (!t->hooks || !t->hooks->progress)
        return;
    if (file || t->bytes - t->told >= TAR_PROGRESS_EVERY) {
        t->told = t->bytes;
        t->hooks->progress(t->files, t->bytes, t->hooks->arg);
    }
}

void tar_warn(const struct tar_tally *t, const char *name, const char *why)
{
    AUTO_STR text = str_printf("'%s' was left out: %s", name, why);
    if (text && t->hooks && t->hooks->warn)
        t->hooks->warn(text, t->hooks->arg);
}

unsigned tar_sum(const struct tar_header *h)
{
    const unsigned char *p = (const unsigned char *)h;
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof *h; i++) {
        size_t field = offsetof(struct tar_header, sum);
        sum += i >= field && i < field + sizeof h->sum ? ' ' : p[i];
    }
    return sum;
}

static int put_block(struct packer *p, const char *name, char type, uint64_t size,
                     const struct stat *st, const char *link, struct err *err)
{
    struct tar_header h = {.type = type, .magic = "ustar", .version = {'0', '0'}};
    memcpy(h.name, name, strnlen(name, sizeof h.name));
    memcpy(h.link, link, strnlen(link, sizeof h.link));
    snprintf(h.mode, sizeof h.mode, "%07o", (unsigned)st->st_mode & 07777);
    snprintf(h.uid, sizeof h.uid, "%07o", 0u);
    snprintf(h.gid, sizeof h.gid, "%07o", 0u);
    snprintf(h.size, sizeof h.size, "%011llo",
             (unsigned long long)(size >> 33 ? 0 : size));
    int64_t mtime = st->st_mtim.tv_sec;
    snprintf(h.mtime, sizeof h.mtime, "%011llo",
             (unsigned long long)(mtime < 0 || mtime >> 33 ? 0 : mtime));
    snprintf(h.sum, sizeof h.sum, "%06o", tar_sum(&h));
    h.sum[7] = ' ';
    return fd_write_all(p->fd, &h, sizeof h, err);
}

static int put_padding(struct packer *p, uint64_t size, struct err *err)
{
    static const char zeros[TAR_BLOCK];
    size_t rest = size % TAR_BLOCK;
    return rest ? fd_write_all(p->fd, zeros, TAR_BLOCK - rest, err) : 0;
}

/* "LENGTH key=value\n", where LENGTH counts itself. */
static void pax_record(struct str_buf *b, const char *key, const char *value)
{
    size_t fixed = strlen(key) + strlen(value) + 3, len = fixed + 1;
    for (size_t digits = 1;; digits++) {
        len = fixed + digits;
        if ((size_t)snprintf(NULL, 0, "%zu", len) == digits)
            break;
    }
    str_buf_printf(b, "%zu %s=%s\n", len, key, value);
}

static int put_header(struct packer *p, const char *name, char type, uint64_t size,
                      const struct stat *st, const char *link, struct err *err)
{
    AUTO_BUF pax = {0};
    char number[24];
    if (strlen(name) > sizeof((struct tar_header *)0)->name)
        pax_record(&pax, "path", name);
    if (strlen(link) > sizeof((struct tar_header *)0)->link)
        pax_record(&pax, "linkpath", link);
    if (size >> 33) {
        snprintf(number, sizeof number, "%llu", (unsigned long long)size);
        pax_record(&pax, "size", number);
    }
    if (pax.failed)
        return err_oom(err);
    if (pax.len && (put_block(p, "pax", 'x', pax.len, st, "", err) < 0 ||
                    fd_write_all(p->fd, pax.data, pax.len, err) < 0 ||
                    put_padding(p, pax.len, err) < 0))
        return -1;
    return put_block(p, name, type, size, st, link, err);
}

/* Exactly size bytes go out, whatever happens to the file meanwhile. */
static int put_content(struct packer *p, int from, const char *name, uint64_t size,
                       struct err *err)
{
    bool short_told = false;
    for (uint64_t left = size; left > 0;) {
        size_t want = left < TAR_COPY ? left : TAR_COPY;
        ssize_t n = read(from, p->copy, want);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            if (!short_told)
                tar_warn(&p->tally, name,
                         n < 0 ? strerror(errno) : "it shrank while it was read");
            short_told = true;
            memset(p->copy, 0, want);
            n = want;
        }
        if (fd_write_all(p->fd, p->copy, n, err) < 0)
            return -1;
        left -= n;
        p->tally.bytes += n;
        tar_progress(&p->tally, false);
    }
    return put_padding(p, size, err);
}

static int pack_entry(struct packer *p, int at, const char *leaf, const char *name,
                      unsigned depth, struct err *err);

static int pack_tree(struct packer *p, int fd, const char *name, unsigned depth,
                     struct err *err)
{
    DIR *dir = fdopendir(fd);
    int r = 0;
    if (!dir) {
        close(fd);
        return err_sys(err, "'%s'", name);
    }
    while (r == 0) {
        errno = 0;
        struct dirent *d = readdir(dir);
        if (!d) {
            if (errno)
                r = err_sys(err, "'%s'", name);
            break;
        }
        if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, ".."))
            continue;
        AUTO_STR below = str_printf("%s/%s", name, d->d_name);
        r = !below ? err_oom(err)
                   : pack_entry(p, dirfd(dir), d->d_name, below, depth + 1, err);
    }
    closedir(dir);
    return r;
}

static int pack_link(struct packer *p, int at, const char *leaf, const char *name,
                     const struct stat *st, struct err *err)
{
    char link[PATH_MAX];
    ssize_t n = readlinkat(at, leaf, link, sizeof link - 1);
    if (n < 0)
        return err_sys(err, "'%s'", name);
    link[n] = '\0';
    tar_progress(&p->tally, true);
    return put_header(p, name, '2', 0, st, link, err);
}

static int pack_entry(struct packer *p, int at, const char *leaf, const char *name,
                      unsigned depth, struct err *err)
{
    struct stat st;
    if (fstatat(at, leaf, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return err_sys(err, "'%s'", name);
    if (S_ISLNK(st.st_mode))
        return pack_link(p, at, leaf, name, &st, err);
    if (S_ISFIFO(st.st_mode))
        return put_header(p, name, '6', 0, &st, "", err);
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
        tar_warn(&p->tally, name, "neither file, directory, link nor pipe");
        return 0;
    }
    if (depth > TAR_DEPTH_MAX)
        return err_set(err, E_INPUT, "'%s': more than %d directories deep", name,
                       TAR_DEPTH_MAX);
    AUTO_FD fd =
        openat(at, leaf, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
    struct stat now;
    if (fd < 0 || fstat(fd, &now) < 0)
        return err_sys(err, "'%s'", name);
    if (S_ISDIR(now.st_mode)) {
        AUTO_STR slash = str_printf("%s/", name);
        if (!slash)
            return err_oom(err);
        if (put_header(p, slash, '5', 0, &now, "", err) < 0)
            return -1;
        return pack_tree(p, move_fd(fd), name, depth, err);
    }
    if (!S_ISREG(now.st_mode))
        return err_set(err, E_IO, "'%s' changed while it was read", name);
    if (put_header(p, name, '0', now.st_size, &now, "", err) < 0 ||
        put_content(p, fd, name, now.st_size, err) < 0)
        return -1;
    tar_progress(&p->tally, true);
    return 0;
}

int tar_pack(int fd, const char *path, const struct tar_hooks *hooks, struct err *err)
{
    /* The name things get is that of the real file: "." and "x/.." have none. */
    AUTO_STR real = NULL;
    AUTO_STR trimmed = strdup(path);
    if (!trimmed)
        return err_oom(err);
    for (size_t n = strlen(trimmed); n > 1 && trimmed[n - 1] == '/';)
        trimmed[--n] = '\0';
    const char *slash = strrchr(trimmed, '/');
    const char *leaf = slash ? slash + 1 : trimmed;
    if (!*leaf || !strcmp(leaf, ".") || !strcmp(leaf, "..")) {
        if (!(real = realpath(trimmed, NULL)))
            return err_sys(err, "'%s'", path);
        slash = strrchr(real, '/');
        leaf = slash[1] ? slash + 1 : "root";
    }
    AUTO_STR copy = malloc(TAR_COPY);
    if (!copy)
        return err_oom(err);
    struct packer p = {.fd = fd, .tally = {.hooks = hooks}, .copy = copy};
    struct stat st;
    /* What was named may be a link: to its target, as cp does. */
    if (stat(trimmed, &st) < 0)
        return err_sys(err, "'%s'", path);
    AUTO_STR target = realpath(trimmed, NULL);
    if (!target)
        return err_sys(err, "'%s'", path);
    static const char zeros[2 * TAR_BLOCK];
    if (pack_entry(&p, AT_FDCWD, target, leaf, 0, err) < 0)
        return -1;
    return fd_write_all(fd, zeros, sizeof zeros, err);
}
