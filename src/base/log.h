/* SPDX-License-Identifier: Apache-2.0 */
/* The log. To the journal when it is our stderr (job, VM and node become fields), else
 * to stderr with them as a prefix. Modules log only at debug; daemons log the rest. */
#pragma once
#include <stdarg.h>

enum log_level { LOG_L_ERROR, LOG_L_WARN, LOG_L_INFO, LOG_L_DEBUG };

/* What a line is about. All members may be NULL; strings are borrowed for the call. */
struct log_ctx {
    const char *job;
    const char *vm;
    const char *node;
};

/* Name the program, choose the sink; LODGE_DEBUG=1 in the environment raises to debug.
 */
void log_open(const char *program, enum log_level max);
void log_set_level(enum log_level max);
void log_write(enum log_level level, const struct log_ctx *ctx, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define log_error(ctx, ...) log_write(LOG_L_ERROR, (ctx), __VA_ARGS__)
#define log_warn(ctx, ...)  log_write(LOG_L_WARN, (ctx), __VA_ARGS__)
#define log_info(ctx, ...)  log_write(LOG_L_INFO, (ctx), __VA_ARGS__)
#define log_debug(ctx, ...) log_write(LOG_L_DEBUG, (ctx), __VA_ARGS__)
