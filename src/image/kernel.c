/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels; see the header. libarchive undoes the compression. */
#include "image/kernel.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/str.h"
#include "image/modules.h"

enum {
    BZIMAGE_MAX = 64 << 20,
    VMLINUX_MAX = 512 << 20,
    SETUP_AT = 0x1f1,
    LIST_MAX = 16 << 20
};

static uint32_t le32(const char *p)
{
    const unsigned char *b = (const unsigned char *)p;
    return b[0] | b[1] << 8 | b[2] << 16 | (uint32_t)b[3] << 24;
}

/* Where the compressed kernel stands in the image (Documentation/x86/boot.rst). */
static int payload(const char *image, size_t size, size_t *at, size_t *len,
                   struct err *err)
{
    if (size < 0x260 || memcmp(image + 0x202, "HdrS", 4))
        return err_set(err, E_INPUT, "not a bzImage");
    size_t sectors = (unsigned char)image[SETUP_AT];
    size_t setup = ((sectors ? sectors : 4) + 1) * 512;
    *at = setup + le32(image + 0x248);
    *len = le32(image + 0x24c);
    if (*at > size || *len > size - *at || *len < 8)
        return err_set(err, E_INPUT, "bzImage: its payload lies outside of it");
    return 0;
}

static int write_elf(struct archive *a, size_t want, const char *to, struct err *err)
{
    AUTO_FD fd = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_sys(err, "'%s'", to);
    AUTO_STR part = malloc(1 << 20);
    if (!part)
        return err_oom(err);
    size_t got = 0;
    while (got < want) {
        size_t room = want - got < 1 << 20 ? want - got : 1 << 20;
        la_ssize_t n = archive_read_data(a, part, room);
        if (n <= 0)
            return err_set(err, E_INPUT, "the kernel ends early: %s",
                           n < 0 ? archive_error_string(a) : "no more data");
        if (!got && (n < (la_ssize_t)SELFMAG || memcmp(part, ELFMAG, SELFMAG)))
            return err_set(err, E_INPUT, "what the bzImage holds is not ELF");
        if (fd_write_all(fd, part, n, err) < 0)
            return err_at(err, "'%s'", to);
        got += n;
    }
    return 0;
}

int kernel_extract(const char *from, const char *to, struct err *err)
{
    AUTO_STR image = NULL;
    size_t size, at = 0, len = 0;
    if (fd_read_file(from, BZIMAGE_MAX, &image, &size, err) < 0)
        return -1;
    if (payload(image, size, &at, &len, err) < 0)
        return err_at(err, "'%s'", from);
    /* The build appends the size of the ELF to what it compressed. */
    size_t want = le32(image + at + len - 4);
    if (want < sizeof(Elf64_Ehdr) || want > VMLINUX_MAX)
        return err_set(err, E_INPUT, "'%s': a kernel of %zu bytes", from, want);
    struct archive *a = archive_read_new();
    struct archive_entry *e;
    if (!a)
        return err_oom(err);
    archive_read_support_filter_all(a);
    archive_read_support_format_raw(a);
    int r = 0;
    if (archive_read_open_memory(a, image + at, len - 4) != ARCHIVE_OK ||
        archive_read_next_header(a, &e) != ARCHIVE_OK)
        r = err_set(err, E_INPUT, "unknown compression: %s", archive_error_string(a));
    else
        r = write_elf(a, want, to, err);
    archive_read_free(a);
    return r < 0 ? err_at(err, "'%s'", from) : 0;
}

void kernel_free(struct kernel *k)
{
    if (!k)
        return;
    free(k->dir);
    free(k->release);
    free(k);
}

static int find_release(const char *dir, char **out, struct err *err)
{
    AUTO_STR path = str_printf("%s/boot", dir);
    if (!path)
        return err_oom(err);
    DIR *d = opendir(path);
    if (!d)
        return err_sys(err, "'%s'", path);
    struct dirent *e;
    char *release = NULL;
    while (!release && (e = readdir(d)))
        if (str_starts(e->d_name, "vmlinuz-"))
            release = strdup(e->d_name + 8);
    closedir(d);
    if (!release)
        return err_set(err, E_INPUT, "the kernel package has no /boot/vmlinuz-*");
    *out = release;
    return 0;
}

/* Take the package apart in dir. */
static int unpack(const struct pkg *p, const char *cache, const char *dir,
                  const struct run *run, struct err *err)
{
    AUTO_STR deb = pkg_path(p, cache);
    AUTO_STR release = NULL;
    if (!deb)
        return err_oom(err);
    if (pkg_check(p, deb, err) < 0 || fd_mkdirs(dir, 0755, err) < 0 ||
        RUN(run, err, "dpkg-deb", "-x", deb, dir) < 0 ||
        find_release(dir, &release, err) < 0 ||
        RUN(run, err, "/sbin/depmod", "-b", dir, release) < 0)
        return -1;
    AUTO_STR z = str_printf("%s/boot/vmlinuz-%s", dir, release);
    AUTO_STR zt = str_printf("%s/vmlinuz", dir);
    AUTO_STR elf = str_printf("%s/vmlinux", dir);
    AUTO_STR name = str_printf("%s/release", dir);
    AUTO_STR doc = str_printf("%s/usr", dir);
    if (!z || !zt || !elf || !name || !doc)
        return err_oom(err);
    if (kernel_extract(z, elf, err) < 0)
        return -1;
    if (rename(z, zt) < 0 || chmod(zt, 0644) < 0)
        return err_sys(err, "'%s'", zt);
    return fd_remove_tree(doc, err) < 0 ||
                   fd_replace_file(name, release, strlen(release), 0644, err) < 0
               ? -1
               : 0;
}

int kernel_open(const struct pkg *p, const char *cache, const char *work,
                const struct run *run, struct kernel **out, struct err *err)
{
    AUTO(kernel) k = calloc(1, sizeof *k);
    AUTO_STR temp = str_printf("%s/kernel", work);
    AUTO_STR all = str_printf("%s/kernels", cache);
    if (!k || !temp || !all || !(k->dir = str_printf("%s/%s", all, p->sha256)))
        return err_oom(err);
    AUTO_STR name = str_printf("%s/release", k->dir);
    if (!name)
        return err_oom(err);
    if (access(name, R_OK) < 0) {
        if (fd_mkdirs(all, 0755, err) < 0 || unpack(p, cache, temp, run, err) < 0)
            return err_at(err, "kernel package '%s'", p->name);
        /* Somebody else may have been quicker: theirs is the same. */
        if (rename(temp, k->dir) < 0 && errno != EEXIST && errno != ENOTEMPTY)
            return err_sys(err, "keep '%s'", k->dir);
    }
    if (fd_read_file(name, 128, &k->release, NULL, err) < 0)
        return -1;
    *out = move(k);
    return 0;
}

static int read_list(const struct kernel *k, const char *name, char **out,
                     struct err *err)
{
    AUTO_STR path = str_printf("%s/lib/modules/%s/%s", k->dir, k->release, name);
    return path ? fd_read_file(path, LIST_MAX, out, NULL, err) : err_oom(err);
}

int kernel_modules(const struct kernel *k, const struct words *names, struct words *out,
                   struct err *err)
{
    AUTO_STR dep = NULL;
    AUTO_STR builtin = NULL;
    AUTO_STR softdep = NULL;
    AUTO_STR alias = NULL;
    if (read_list(k, "modules.dep", &dep, err) < 0 ||
        read_list(k, "modules.builtin", &builtin, err) < 0 ||
        read_list(k, "modules.softdep", &softdep, err) < 0 ||
        read_list(k, "modules.alias", &alias, err) < 0)
        return -1;
    const struct modules lists = {dep, builtin, softdep, alias};
    return modules_order(&lists, names, out, err);
}
