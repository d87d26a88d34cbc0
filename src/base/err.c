/* SPDX-License-Identifier: Apache-2.0 */
/* The error object. Callers: everybody. A NULL err is allowed everywhere. */
#undef LODGE_ANALYZE
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

static const struct {
    const char *name;
    int status;
} codes[] = {
#define X(code, wire, exit_status) [code] = {.name = wire, .status = exit_status},
    ERR_CODES(X)
#undef X
};

int err_vset(struct err *err, enum err_code code, const char *fmt, va_list ap)
{
    if (!err)
        return -1;
    err->code = code;
    err->sys = 0;
    vsnprintf(err->text, sizeof err->text, fmt, ap);
    str_one_line(err->text, sizeof err->text);
    return -1;
}

int err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err_vset(err, code, fmt, ap);
    va_end(ap);
    return -1;
}

static enum err_code code_of_errno(int sys)
{
    switch (sys) {
    case ENOENT:
    case ENOTDIR:
        return E_NOENT;
    case EISDIR:
        return E_INPUT;
    case EACCES:
    case EPERM:
    case EROFS:
        return E_PERM;
    case EEXIST:
        return E_EXISTS;
    case EBUSY:
    case EAGAIN:
        return E_BUSY;
    case EIO:
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return E_IO;
    case ETIMEDOUT:
        return E_TIMEOUT;
    case ECONNREFUSED:
        return E_UNAVAIL;
    default:
        return E_SYS;
    }
}

int err_sys(struct err *err, const char *fmt, ...)
{
    int sys = errno;
    if (!err)
        return -1;
    va_list ap;
    va_start(ap, fmt);
    err_vset(err, code_of_errno(sys), fmt, ap);
    va_end(ap);
    err->sys = sys;
    size_t len = strlen(err->text);
    snprintf(err->text + len, sizeof err->text - len, ": %s", strerror(sys));
    errno = sys;
    return -1;
}

int err_at(struct err *err, const char *fmt, ...)
{
    if (!err)
        return -1;
    char text[sizeof err->text];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    str_one_line(text, sizeof text);
    size_t len = strlen(text);
    snprintf(text + len, sizeof text - len, ": %s", err->text);
    memcpy(err->text, text, sizeof text);
    return -1;
}

int err_oom(struct err *err)
{
    return err_set(err, E_SYS, "out of memory");
}

const char *err_code_name(enum err_code code)
{
    return code >= 0 && code < E_COUNT ? codes[code].name : "fail";
}

enum err_code err_code_parse(const char *name)
{
    for (int i = 0; i < E_COUNT; i++)
        if (!strcmp(codes[i].name, name))
            return i;
    return E_FAIL;
}

int err_exit_status(const struct err *err)
{
    return err->code > E_NONE && err->code < E_COUNT ? codes[err->code].status : 1;
}
