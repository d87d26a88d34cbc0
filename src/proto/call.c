/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of calls; see the header. */
#include "proto/call.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void call_reader_done(struct call_reader *r)
{
    free(r->data);
    *r = (struct call_reader){0};
}

int call_read(struct call_reader *r, int fd)
{
    if (r->room - r->len < CALL_PART) {
        size_t room = r->len + 2 * (size_t)CALL_PART;
        char *more = realloc(r->data, room);
        if (!more)
            return -1;
        r->data = more;
        r->room = room;
    }
    ssize_t n = read(fd, r->data + r->len, r->room - r->len);
    if (n > 0)
        r->len += (size_t)n;
    return n > 0 ? 1 : (int)n;
}

static size_t length(const char *head)
{
    const unsigned char *p = (const unsigned char *)head + 1;
    return p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24;
}

static bool known(char kind, size_t len)
{
    switch (kind) {
    case CALL_OPEN:
        return len <= CALL_OPEN_MAX;
    case CALL_INPUT:
    case CALL_OUT:
    case CALL_ERR:
        return len <= CALL_PART;
    case CALL_SIGNAL:
        return len == 1;
    case CALL_EXIT:
        return len == 4;
    default:
        return false;
    }
}

int call_next(const struct call_reader *r, char *kind, const char **data, size_t *len)
{
    if (r->len < CALL_HEAD)
        return 0;
    *kind = r->data[0];
    *len = length(r->data);
    *data = r->data + CALL_HEAD;
    if (!known(*kind, *len))
        return -1;
    return r->len - CALL_HEAD >= *len;
}

void call_drop(struct call_reader *r)
{
    size_t n = CALL_HEAD + length(r->data);
    memmove(r->data, r->data + n, r->len - n);
    r->len -= n;
}

void call_writer_done(struct call_writer *w)
{
    free(w->data);
    *w = (struct call_writer){0};
}

int call_put_raw(struct call_writer *w, const void *data, size_t len)
{
    if (w->at == w->len)
        w->at = w->len = 0;
    if (w->room - w->len < len) {
        char *more = realloc(w->data, w->len + len);
        if (!more)
            return -1;
        w->data = more;
        w->room = w->len + len;
    }
    if (len)
        memcpy(w->data + w->len, data, len);
    w->len += len;
    return 0;
}

int call_put(struct call_writer *w, char kind, const void *data, size_t len)
{
    const char head[CALL_HEAD] = {kind, (char)(len & 255), (char)(len >> 8 & 255),
                                  (char)(len >> 16 & 255), (char)(len >> 24 & 255)};
    return call_put_raw(w, head, sizeof head) < 0 || call_put_raw(w, data, len) < 0 ? -1
                                                                                    : 0;
}

int call_flush(struct call_writer *w, int fd)
{
    if (!call_pending(w))
        return 0;
    ssize_t n = write(fd, w->data + w->at, w->len - w->at);
    if (n > 0)
        w->at += (size_t)n;
    return n < 0 && errno != EAGAIN && errno != EINTR ? -1 : 0;
}
