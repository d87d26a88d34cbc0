/* SPDX-License-Identifier: Apache-2.0 */
/* What lodge-stage1 has in place of a C library: system calls of x86-64, each giving
 * its result or a negative errno, and a few string functions. */
#pragma once
#include <asm/unistd.h>
#include <stdbool.h>
#include <stddef.h>

enum {
    O_RDONLY_ = 0,
    O_WRONLY_ = 1,
    O_RDWR_ = 2,
    O_CREAT_ = 0100,
    O_TRUNC_ = 01000,
    O_DIRECTORY_ = 0200000,
    F_OK_ = 0,
    MS_RDONLY_ = 1,
    MS_NOSUID_ = 2,
    MS_NODEV_ = 4,
    MS_NOEXEC_ = 8,
    MS_MOVE_ = 8192,
    EEXIST_ = 17,
    ENODEV_ = 19,
    SIGCHLD_ = 17,
};

struct dirent64_ {
    unsigned long long ino;
    long long off;
    unsigned short reclen;
    unsigned char type;
    char name[];
};

static inline long call6(long nr, long a, long b, long c, long d, long e, long f)
{
    long r;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(r)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return r;
}

#define CALL(nr, a, b, c, d, e)                                                        \
    call6(__NR_##nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)

static inline long sys_open(const char *path, int flags, int mode)
{
    return CALL(open, path, flags | 02000000 /* O_CLOEXEC */, mode, 0, 0);
}
static inline long sys_close(int fd)
{
    return CALL(close, fd, 0, 0, 0, 0);
}
static inline long sys_read(int fd, void *buf, size_t n)
{
    return CALL(read, fd, buf, n, 0, 0);
}
static inline long sys_write(int fd, const void *buf, size_t n)
{
    return CALL(write, fd, buf, n, 0, 0);
}
static inline long sys_getdents(int fd, void *buf, size_t n)
{
    return CALL(getdents64, fd, buf, n, 0, 0);
}
static inline long sys_mount(const char *dev, const char *dir, const char *type,
                             unsigned long flags, const char *data)
{
    return CALL(mount, dev, dir, type, flags, data);
}
static inline long sys_mkdir(const char *path, int mode)
{
    return CALL(mkdir, path, mode, 0, 0, 0);
}
static inline long sys_chmod(const char *path, int mode)
{
    return CALL(chmod, path, mode, 0, 0, 0);
}
static inline long sys_unlink(const char *path)
{
    return CALL(unlink, path, 0, 0, 0, 0);
}
static inline long sys_access(const char *path, int mode)
{
    return CALL(access, path, mode, 0, 0, 0);
}
static inline long sys_chdir(const char *path)
{
    return CALL(chdir, path, 0, 0, 0, 0);
}
static inline long sys_chroot(const char *path)
{
    return CALL(chroot, path, 0, 0, 0, 0);
}
static inline long sys_ioctl(int fd, unsigned long cmd, void *arg)
{
    return CALL(ioctl, fd, cmd, arg, 0, 0);
}
static inline long sys_finit_module(int fd, const char *options, int flags)
{
    return CALL(finit_module, fd, options, flags, 0, 0);
}
static inline long sys_dup2(int from, int to)
{
    return CALL(dup2, from, to, 0, 0, 0);
}
static inline long sys_fork(void)
{
    return CALL(clone, SIGCHLD_, 0, 0, 0, 0);
}
static inline long sys_setsid(void)
{
    return CALL(setsid, 0, 0, 0, 0, 0);
}
static inline long sys_execve(const char *path, const char *const *argv,
                              const char *const *env)
{
    return CALL(execve, path, argv, env, 0, 0);
}
static inline long sys_exit(int status)
{
    return CALL(exit_group, status, 0, 0, 0, 0);
}
static inline long sys_sync(void)
{
    return CALL(sync, 0, 0, 0, 0, 0);
}
static inline long sys_reboot(unsigned cmd)
{
    return CALL(reboot, 0xfee1dead, 672274793, cmd, 0, 0);
}
static inline long sys_getrandom(void *buf, size_t n)
{
    return CALL(getrandom, buf, n, 0, 0, 0);
}
static inline void sys_sleep_ms(long ms)
{
    long t[2] = {ms / 1000, ms % 1000 * 1000000};
    CALL(nanosleep, t, 0, 0, 0, 0);
}

/* gcc may call these by itself. */
__attribute__((used)) void *memcpy(void *to, const void *from, size_t n);
__attribute__((used)) void *memset(void *to, int c, size_t n);
void *memcpy(void *to, const void *from, size_t n)
{
    void *r = to;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n)::"memory");
    return r;
}
void *memset(void *to, int c, size_t n)
{
    void *r = to;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(c) : "memory");
    return r;
}

static inline void copy_bytes(char *to, const char *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = from[i];
}
static inline void clear(void *to, size_t n)
{
    memset(to, 0, n);
}
static inline size_t length(const char *s)
{
    size_t n = 0;
    while (s[n])
        n++;
    return n;
}
static inline int compare(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return (unsigned char)*a - (unsigned char)*b;
}
static inline bool starts(const char *s, const char *prefix)
{
    while (*prefix)
        if (*s++ != *prefix++)
            return false;
    return true;
}
/* to = a b, cut to size; the length. */
static inline size_t join(char *to, size_t size, const char *a, const char *b)
{
    size_t n = 0;
    while (*a && n + 1 < size)
        to[n++] = *a++;
    while (*b && n + 1 < size)
        to[n++] = *b++;
    if (size)
        to[n] = '\0';
    return n;
}
static inline size_t join3(char *to, size_t size, const char *a, const char *b,
                           const char *c)
{
    size_t n = join(to, size, a, b);
    return n + join(to + n, size - n, c, "");
}
static inline void decimal(unsigned long v, char to[24])
{
    char t[24];
    int n = 0, i = 0;
    do
        t[n++] = (char)('0' + v % 10);
    while (v /= 10);
    while (n)
        to[i++] = t[--n];
    to[i] = '\0';
}
static inline bool to_number(const char *s, unsigned long *out)
{
    unsigned long v = 0;
    if (!*s)
        return false;
    for (; *s; s++) {
        if (*s < '0' || *s > '9' || v > (1ul << 50))
            return false;
        v = v * 10 + (unsigned long)(*s - '0');
    }
    *out = v;
    return true;
}
/* A small file as text; its length or a negative errno. */
static inline long read_text(const char *path, char *buf, size_t size)
{
    long fd = sys_open(path, O_RDONLY_, 0);
    if (fd < 0)
        return fd;
    long n = sys_read((int)fd, buf, size - 1);
    sys_close((int)fd);
    buf[n > 0 ? n : 0] = '\0';
    return n;
}
