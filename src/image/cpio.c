/* SPDX-License-Identifier: Apache-2.0 */
/* Initramfs archives; see the header. */
#include "image/cpio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <zstd.h>

#include "base/fd.h"

enum { FILE_LIMIT = 64 << 20, ZSTD_LEVEL = 19 };

static void pad(struct cpio *c)
{
    static const char zero[4];
    str_buf_add(&c->data, zero, -c->data.len & 3);
}

static void entry(struct cpio *c, const char *name, mode_t mode, size_t len,
                  unsigned major, unsigned minor)
{
    /* magic inode mode uid gid links mtime size dev(2) rdev(2) namesize check */
    str_buf_printf(&c->data,
                   "070701%08x%08x%08x%08x%08x%08x%08zx%08x%08x%08x%08x%08zx%08x",
                   ++c->inode, (unsigned)mode, 0, 0, S_ISDIR(mode) ? 2 : 1, 0, len, 0,
                   0, major, minor, strlen(name) + 1, 0);
    str_buf_add(&c->data, name, strlen(name) + 1);
    pad(c);
}

void cpio_dir(struct cpio *c, const char *name)
{
    entry(c, name, S_IFDIR | 0755, 0, 0, 0);
}

void cpio_node(struct cpio *c, const char *name, mode_t mode, unsigned major,
               unsigned minor)
{
    entry(c, name, mode, 0, major, minor);
}

void cpio_bytes(struct cpio *c, const char *name, mode_t mode, const void *data,
                size_t len)
{
    entry(c, name, S_IFREG | mode, len, 0, 0);
    str_buf_add(&c->data, data, len);
    pad(c);
}

int cpio_file(struct cpio *c, const char *name, mode_t mode, const char *from,
              struct err *err)
{
    AUTO_STR data = NULL;
    size_t len;
    if (fd_read_file(from, FILE_LIMIT, &data, &len, err) < 0)
        return -1;
    cpio_bytes(c, name, mode, data, len);
    return 0;
}

int cpio_write(struct cpio *c, const char *path, struct err *err)
{
    AUTO_BUF all = c->data;
    c->data = (struct str_buf){0};
    struct cpio end = {.data = all, .inode = c->inode};
    entry(&end, "TRAILER!!!", 0, 0, 0, 0);
    all = end.data;
    size_t room = ZSTD_compressBound(all.len);
    AUTO_STR out = malloc(room);
    if (all.failed || !out)
        return err_oom(err);
    size_t n = ZSTD_compress(out, room, all.data, all.len, ZSTD_LEVEL);
    if (ZSTD_isError(n))
        return err_set(err, E_FAIL, "zstd: %s", ZSTD_getErrorName(n));
    AUTO_FD fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_sys(err, "'%s'", path);
    return fd_write_all(fd, out, n, err) < 0 ? err_at(err, "'%s'", path) : 0;
}
