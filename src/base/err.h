/* SPDX-License-Identifier: Apache-2.0 */
/* Errors: one object, last argument, may be NULL. A code for programs (its wire name
 * and exit status are in one table), a sentence for people. */
#pragma once
#include <stdarg.h>

#define ERR_CODES(X)                                                                   \
    /* code       wire name      exit (sysexits.h) */                                  \
    X(E_NONE, "ok", 0)                                                                 \
    X(E_FAIL, "fail", 1)            /* anything without a better name */               \
    X(E_USAGE, "usage", 64)         /* wrong words on the command line */              \
    X(E_INPUT, "input", 65)         /* a document or message is wrong */               \
    X(E_NOENT, "not-found", 66)     /* what was named does not exist */                \
    X(E_HOST, "no-host", 68)        /* a node cannot be reached */                     \
    X(E_UNAVAIL, "unavailable", 69) /* a service or capability is missing */           \
    X(E_BUG, "bug", 70)             /* our own mistake */                              \
    X(E_SYS, "system", 71)          /* the operating system refused */                 \
    X(E_EXISTS, "exists", 73)       /* cannot create: it is there already */           \
    X(E_IO, "io", 74)               /* reading or writing failed */                    \
    X(E_BUSY, "busy", 75)       /* try again later: in use, or a resource is out */    \
    X(E_PROTO, "protocol", 76)  /* the other end talks nonsense */                     \
    X(E_PERM, "denied", 77)     /* not yours to do */                                  \
    X(E_CONFIG, "config", 78)   /* configuration is wrong */                           \
    X(E_TIMEOUT, "timeout", 79) /* a deadline passed */                                \
    X(E_CANCELLED, "cancelled", 80) /* somebody asked us to stop */                    \
    X(E_STATE, "state", 81)         /* not possible in this state */

enum err_code {
#define X(code, name, status) code,
    ERR_CODES(X)
#undef X
        E_COUNT
};

struct err {
    enum err_code code;
    int sys; /* errno, or 0 */
    char text[512];
};

/* All return -1, so that a caller can write: return err_set(err, ...); */
int err_set(struct err *err, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int err_vset(struct err *err, enum err_code code, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));
/* Sets the code from errno (ENOENT, EACCES, ...) and appends strerror(errno). */
int err_sys(struct err *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Puts "context: " in front of what is there. */
int err_at(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int err_oom(struct err *err);

const char *err_code_name(enum err_code code);
/* E_FAIL for a name that is not known. */
enum err_code err_code_parse(const char *name);
int err_exit_status(const struct err *err);

#ifdef LODGE_ANALYZE
/* Static analyzers look into one file at a time: tell them that these always give -1. */
#define err_set(...)  ((void)(err_set)(__VA_ARGS__), -1)
#define err_vset(...) ((void)(err_vset)(__VA_ARGS__), -1)
#define err_sys(...)  ((void)(err_sys)(__VA_ARGS__), -1)
#define err_at(...)   ((void)(err_at)(__VA_ARGS__), -1)
#define err_oom(err)  ((void)(err_oom)(err), -1)
#endif
