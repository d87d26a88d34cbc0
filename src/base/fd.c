/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptor helpers; see the header. No state. */
#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/str.h"

/* A nonblocking descriptor that is not ready is waited for. */
static void wait_for(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};
    poll(&p, 1, -1);
}

int fd_write_all(int fd, const void *data, size_t len, struct err *err)
{
    const char *p = data;
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EAGAIN)
            wait_for(fd, POLLOUT);
        else if (n < 0 && errno != EINTR)
            return err_sys(err, "write");
        else if (n > 0)
            p += n, len -= n;
    }
    return 0;
}

int fd_read_all(int fd, void *data, size_t len, struct err *err)
{
    char *p = data;
    while (len > 0) {
        ssize_t n = read(fd, p, len);
        if (n == 0)
            return err_set(err, E_IO, "read: unexpected end, %zu bytes missing", len);
        if (n < 0 && errno == EAGAIN)
            wait_for(fd, POLLIN);
        else if (n < 0 && errno != EINTR)
            return err_sys(err, "read");
        else if (n > 0)
            p += n, len -= n;
    }
    return 0;
}

ssize_t fd_read_at(int fd, void *data, size_t len, uint64_t at)
{
    size_t got = 0;
    while (got < len) {
        ssize_t n = pread(fd, (char *)data + got, len - got, (off_t)(at + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        got += (size_t)n;
    }
    return (ssize_t)got;
}

int fd_write_at(int fd, const void *data, size_t len, uint64_t at)
{
    for (size_t put = 0; put < len;) {
        ssize_t n = pwrite(fd, (const char *)data + put, len - put, (off_t)(at + put));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n == 0 ? EIO : errno;
            return -1;
        }
        put += (size_t)n;
    }
    return 0;
}

ssize_t fd_send_some(int sock, const void *data, size_t len)
{
    size_t sent = 0;
    while (sent < len) {
        ssize_t n = send(sock, (const char *)data + sent, len - sent,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0)
            return -1;
        sent += (size_t)n;
    }
    return (ssize_t)sent;
}

int fd_of_text(const char *name, const char *text, struct err *err)
{
    AUTO_FD fd = memfd_create(name, MFD_CLOEXEC);
    if (fd < 0)
        return err_sys(err, "memfd");
    if (fd_write_all(fd, text, strlen(text), err) < 0)
        return -1;
    return lseek(fd, 0, SEEK_SET) < 0 ? err_sys(err, "memfd") : move_fd(fd);
}

int fd_lock_file(const char *path, mode_t mode, int how, struct err *err)
{
    AUTO_FD fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, mode);
    if (fd < 0)
        return err_sys(err, "'%s'", path);
    while (flock(fd, how) < 0)
        if (errno != EINTR)
            return err_sys(err, "lock '%s'", path);
    return move_fd(fd);
}

void fd_raise_limit(void)
{
    struct rlimit lim;
    if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
        lim.rlim_cur = lim.rlim_max;
        setrlimit(RLIMIT_NOFILE, &lim);
    }
}

int fd_set_nonblock(int fd, bool on, struct err *err)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return err_sys(err, "fcntl");
    flags = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
    return fcntl(fd, F_SETFL, flags) < 0 ? err_sys(err, "fcntl") : 0;
}

int fd_slurp(int fd, const char *name, size_t max, char **out, size_t *len,
             struct err *err)
{
    AUTO_BUF b = {0};
    char part[16384];
    for (;;) {
        ssize_t n = read(fd, part, sizeof part);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, "'%s'", name);
        if (n == 0)
            break;
        if (b.len + n > max)
            return err_set(err, E_INPUT, "'%s' is larger than %zu bytes", name, max);
        str_buf_add(&b, part, n);
    }
    size_t got = b.len;
    char *s = str_buf_take(&b);
    if (!s)
        return err_oom(err);
    *out = s;
    if (len)
        *len = got;
    return 0;
}

int fd_read_file(const char *path, size_t max, char **out, size_t *len, struct err *err)
{
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return err_sys(err, "'%s'", path);
    return fd_slurp(fd, path, max, out, len, err);
}

static int sync_parent(const char *path, struct err *err)
{
    const char *slash = strrchr(path, '/');
    AUTO_STR dir =
        slash ? strndup(path, slash == path ? 1 : slash - path) : strdup(".");
    if (!dir)
        return err_oom(err);
    AUTO_FD fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return err_sys(err, "'%s'", dir);
    return 0;
}

int fd_replace_file(const char *path, const void *data, size_t len, mode_t mode,
                    struct err *err)
{
    AUTO_STR temp = str_printf("%s.new.%d", path, (int)getpid());
    if (!temp)
        return err_oom(err);
    AUTO_FD fd =
        open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return err_sys(err, "'%s'", temp);
    if (fd_write_all(fd, data, len, err) < 0) {
        unlink(temp);
        return err_at(err, "'%s'", path);
    }
    if (fsync(fd) < 0 || rename(temp, path) < 0) {
        err_sys(err, "'%s'", path);
        unlink(temp);
        return -1;
    }
    return sync_parent(path, err);
}

int fd_mkdirs(const char *path, mode_t mode, struct err *err)
{
    AUTO_STR part = strdup(path);
    if (!part)
        return err_oom(err);
    for (char *p = part + 1;; p++) {
        if (*p && *p != '/')
            continue;
        char was = *p;
        *p = '\0';
        struct stat st;
        if (mkdir(part, mode) < 0 &&
            (errno != EEXIST || (stat(part, &st) == 0 && !S_ISDIR(st.st_mode)))) {
            if (errno == EEXIST)
                errno = ENOTDIR;
            return err_sys(err, "directory '%s'", part);
        }
        if (!was)
            return 0;
        *p = was;
    }
}

/* Everything in the directory (its descriptor is taken), not the directory itself. A
 * directory of another file system is a mount point: EBUSY. Only directories are compared
 * so, since an overlay gives other files the device number of their layer. */
static int remove_inside(int own_dir, dev_t dev, int depth)
{
    enum { DEPTH_MAX = 400 };
    DIR *d = depth < DEPTH_MAX ? fdopendir(own_dir) : NULL;
    if (!d) {
        int sys = depth < DEPTH_MAX ? errno : ELOOP;
        close(own_dir);
        errno = sys;
        return -1;
    }
    int sys = 0;
    for (struct dirent *e; (e = readdir(d));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") ||
            unlinkat(dirfd(d), e->d_name, 0) == 0 || errno == ENOENT)
            continue;
        int sub = openat(dirfd(d), e->d_name,
                         O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        struct stat st;
        if (sub < 0 || fstat(sub, &st) < 0 || st.st_dev != dev) {
            sys = sub < 0 ? errno : EBUSY;
            if (sub >= 0)
                close(sub);
        } else if (remove_inside(sub, dev, depth + 1) < 0 ||
                   unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR) < 0) {
            sys = errno;
        }
    }
    closedir(d);
    errno = sys;
    return sys ? -1 : 0;
}

int fd_remove_tree(const char *path, struct err *err)
{
    struct stat st;
    if (unlink(path) == 0 || errno == ENOENT)
        return 0;
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0 || fstat(dir, &st) < 0) {
        err_sys(err, "remove '%s'", path);
        if (dir >= 0)
            close(dir);
        return -1;
    }
    if (remove_inside(dir, st.st_dev, 0) < 0 || (rmdir(path) < 0 && errno != ENOENT))
        return err_sys(err, "remove '%s'", path);
    return 0;
}

union pass {
    struct cmsghdr head;
    char room[CMSG_SPACE(sizeof(int) * FD_PASS_MAX)];
};

int fd_send(int sock, const void *data, size_t len, const int *fds, size_t nfds,
            struct err *err)
{
    union pass pass = {0};
    struct iovec iov = {.iov_base = (void *)data, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (nfds > FD_PASS_MAX)
        return err_set(err, E_BUG, "more than %d descriptors in a message",
                       FD_PASS_MAX);
    if (nfds) {
        msg.msg_control = &pass;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
        pass.head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int) * nfds),
                                     .cmsg_level = SOL_SOCKET,
                                     .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&pass.head), fds, sizeof(int) * nfds);
    }
    ssize_t n;
    while ((n = sendmsg(sock, &msg, MSG_NOSIGNAL)) < 0) {
        if (errno == EAGAIN)
            wait_for(sock, POLLOUT);
        else if (errno != EINTR)
            return err_sys(err, "send");
    }
    /* The descriptors went with the first byte. */
    return fd_write_all(sock, (const char *)data + n, len - n, err);
}

ssize_t fd_recv(int sock, void *data, size_t len, int *fds, size_t *nfds,
                struct err *err)
{
    union pass pass = {0};
    struct iovec iov = {.iov_base = data, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = &pass,
                         .msg_controllen = sizeof pass};
    ssize_t n;
    while ((n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC)) < 0)
        if (errno != EINTR)
            return err_sys(err, "receive");
    size_t room = *nfds;
    *nfds = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t got = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < got; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (*nfds < room)
                fds[(*nfds)++] = fd;
            else
                close(fd);
        }
    }
    return n;
}

static int unix_address(const char *path, struct sockaddr_un *to, struct err *err)
{
    *to = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof to->sun_path)
        return err_set(err, E_CONFIG, "socket path '%s' is longer than %zu bytes", path,
                       sizeof to->sun_path - 1);
    memcpy(to->sun_path, path, strlen(path));
    return 0;
}

int fd_unix_listen(const char *path, mode_t mode, struct err *err)
{
    struct sockaddr_un at;
    if (unix_address(path, &at, err) < 0)
        return -1;
    AUTO_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_sys(err, "socket");
    unlink(path);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || chmod(path, mode) < 0 ||
        listen(fd, SOMAXCONN) < 0)
        return err_sys(err, "socket '%s'", path);
    return move_fd(fd);
}

int fd_unix_connect(const char *path, struct err *err)
{
    struct sockaddr_un to;
    if (unix_address(path, &to, err) < 0)
        return -1;
    AUTO_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_sys(err, "socket");
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        return err_sys(err, "connect to '%s'", path);
    return move_fd(fd);
}

void fd_unix_remove(const char *path)
{
    struct sockaddr_un to;
    struct stat st;
    if (unix_address(path, &to, NULL) < 0 || lstat(path, &st) < 0 ||
        !S_ISSOCK(st.st_mode))
        return;
    AUTO_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) < 0 &&
        errno == ECONNREFUSED)
        unlink(path);
}
