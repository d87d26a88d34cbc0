/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors: whole reads and writes, whole files, atomic replacement, passing over
 * unix sockets. Everything opened here is close-on-exec. */
#pragma once
#include "base/err.h"
#include "base/own.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Write all of it, going on after EINTR and short writes. */
int fd_write_all(int fd, const void *data, size_t len, struct err *err);
/* Read exactly len bytes; E_IO at an early end. */
int fd_read_all(int fd, void *data, size_t len, struct err *err);
/* At that offset, going on after EINTR: as many bytes as there are, up to len; -1 with errno. */
ssize_t fd_read_at(int fd, void *data, size_t len, uint64_t at);
/* At that offset all of it, going on after EINTR and short writes; -1 with errno. */
int fd_write_at(int fd, const void *data, size_t len, uint64_t at);
/* On a socket what goes without waiting, going on after EINTR: how much, 0 if nothing goes now;
 * -1 with errno when the other end is gone. */
ssize_t fd_send_some(int sock, const void *data, size_t len);
/* As many descriptors as we may have: of daemons with a few for each machine or node. */
void fd_raise_limit(void);
int fd_set_nonblock(int fd, bool on, struct err *err);

/* The file at path, at most max bytes, NUL-terminated; *out is the caller's to free.
 * len may be NULL. */
int fd_read_file(const char *path, size_t max, char **out, size_t *len,
                 struct err *err);
/* The same from an open descriptor; `name` is for messages. */
int fd_slurp(int fd, const char *name, size_t max, char **out, size_t *len,
             struct err *err);
/* Replace the file at path: written beside it, fsynced, renamed, directory fsynced. A
 * reader sees the old or the new content, also after a power cut. */
int fd_replace_file(const char *path, const void *data, size_t len, mode_t mode,
                    struct err *err);
/* A file in memory without a name (`name` is for who looks at it), read from its beginning:
 * a descriptor, or -1. */
int fd_of_text(const char *name, const char *text, struct err *err);
/* The file at path, made if it is missing, with a lock on it; `how` as of flock(). The
 * descriptor holds it; -1, E_BUSY if it would have to wait (LOCK_NB). */
int fd_lock_file(const char *path, mode_t mode, int how, struct err *err);
/* Create the directory and its missing parents. */
int fd_mkdirs(const char *path, mode_t mode, struct err *err);
/* Remove a tree; crosses no mount point and follows no link. A missing path is fine. */
int fd_remove_tree(const char *path, struct err *err);

/* Send len > 0 bytes with up to FD_PASS_MAX descriptors over a unix socket, and take
 * them. *nfds is the room on entry, the number received on return. fd_recv gives the
 * number of bytes, 0 at the end, -1 with err. */
enum { FD_PASS_MAX = 28 };
int fd_send(int sock, const void *data, size_t len, const int *fds, size_t nfds,
            struct err *err);
ssize_t fd_recv(int sock, void *data, size_t len, int *fds, size_t *nfds,
                struct err *err);

/* Unix stream sockets by path; a path too long for sun_path is an error that says so.
 */
int fd_unix_listen(const char *path, mode_t mode, struct err *err); /* fd or -1 */
int fd_unix_connect(const char *path, struct err *err);             /* fd or -1 */
/* Take the socket at path away, unless somebody still listens there. */
void fd_unix_remove(const char *path);
