/* SPDX-License-Identifier: Apache-2.0 */
/* Calls out of a guest: `srun` in a job's script that runs in the guest.
 *
 *   srun (in the guest)  --socket--  lodge-guest --call-wait  --command's stdio--
 *       lodge-exec (on the host, in the job's step, as its owner)  --  Slurm's srun
 *
 * On that way go frames: a letter, four bytes of length (least first), so many bytes.
 * From the guest come CALL_OPEN first, then input and signals; the host answers with
 * output and one end. A guest is not trusted: what does not fit ends the call. */
#pragma once
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum call_kind {
    CALL_OPEN = 'O',   /* guest: a command as command_encode() makes it */
    CALL_INPUT = 'I',  /* guest: bytes; none: the end */
    CALL_SIGNAL = 'S', /* guest: one byte */
    CALL_OUT = 'o',    /* host: bytes of standard output */
    CALL_ERR = 'e',    /* host: of standard error */
    CALL_EXIT = 'X',   /* host: waitpid's status, four bytes; the last one */
};
enum { CALL_HEAD = 5, CALL_PART = 32768, CALL_OPEN_MAX = 512 * 1024 };

/* Where in the guest's environment the way out is named: an abstract socket. */
#define CALL_ENV "LODGE_CALL"
/* Where the host's srun carries what the guest's had: base64 of a command's JSON. */
#define CALL_ENV_FROM "LODGE_CALLED_FROM"

/* Bytes that came, until they are frames. */
struct call_reader {
    char *data;
    size_t len, room;
};
void call_reader_done(struct call_reader *r);
/* read() once. 1: there are more bytes, 0: the end, -1: error (errno; EAGAIN too). */
int call_read(struct call_reader *r, int fd);
/* The first whole frame: 1; *data stays until call_drop(). 0: not yet. -1: nonsense. */
int call_next(const struct call_reader *r, char *kind, const char **data, size_t *len);
void call_drop(struct call_reader *r);

/* Bytes on their way out of a descriptor that must not block. */
struct call_writer {
    char *data;
    size_t at, len, room;
};
void call_writer_done(struct call_writer *w);
int call_put(struct call_writer *w, char kind, const void *data, size_t len);
/* The same without a head: for a program's own input. */
int call_put_raw(struct call_writer *w, const void *data, size_t len);
static inline bool call_pending(const struct call_writer *w)
{
    return w->at < w->len;
}
/* write() once. -1: nobody reads any more. */
int call_flush(struct call_writer *w, int fd);
