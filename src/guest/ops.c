/* SPDX-License-Identifier: Apache-2.0 */
/* The requests a guest answers, one row each; commands are in exec.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "config.h"
#include "guest/exec.h"
#include "guest/guest.h"
#include "guest/identity.h"
#include "proto/rpc.h"

enum { FREEZE_MS = 60000, FREEZE_MAX_MS = 3600000 };

void ops_answer(struct guest *g, uint32_t stream, json_t *result)
{
    chan_msg(g->chan, stream, json_pack("{s:o}", "result", result), NULL);
    chan_close(g->chan, stream);
}

void ops_refuse(struct guest *g, uint32_t stream, const struct err *why)
{
    chan_msg(g->chan, stream,
             json_pack("{s:{s:s, s:s}}", "error", "code", err_code_name(why->code),
                       "text", why->text),
             NULL);
    chan_close(g->chan, stream);
}

static int op_ping(struct guest *g, const json_t *request, json_t **result,
                   struct err *err)
{
    *result = json_pack("{s:s, s:b, s:b}", "version", PACKAGE_VERSION, "pid1",
                        g->options->pid1, "identity", g->identity);
    return 0;
}

static int op_identity(struct guest *g, const json_t *request, json_t **result,
                       struct err *err)
{
    AUTO_JSON warnings = json_array();
    if (!warnings)
        return err_oom(err);
    if (!g->options->no_identity && identity_apply(request, warnings, err) < 0)
        return -1;
    g->identity = true;
    *result = json_pack("{s:O}", "warnings", warnings);
    return 0;
}

static int op_freeze(struct guest *g, const json_t *request, json_t **result,
                     struct err *err)
{
    int timeout = FREEZE_MS;
    AUTO_JSON frozen = json_array();
    if (!frozen)
        return err_oom(err);
    if (rpc_unpack((json_t *)request, err, "freeze", "{s?i}", "timeout_ms", &timeout) <
        0)
        return -1;
    if (timeout <= 0 || timeout > FREEZE_MAX_MS)
        return err_set(err, E_PROTO, "freeze: time-out %d ms", timeout);
    if (g->thaw_at)
        return err_set(err, E_STATE, "the file systems are frozen already");
    if (!g->options->no_identity && freeze_all(frozen, err) < 0)
        return -1;
    g->thaw_at = clock_ms() + timeout;
    *result = json_pack("{s:O}", "frozen", frozen);
    return 0;
}

static int op_thaw(struct guest *g, const json_t *request, json_t **result,
                   struct err *err)
{
    g->thaw_at = 0;
    *result = json_pack("{s:i}", "thawed", thaw_all());
    return 0;
}

static int op_unmount(struct guest *g, const json_t *request, json_t **result,
                      struct err *err)
{
    json_t *mounts;
    if (rpc_unpack((json_t *)request, err, "unmount", "{s:o}", "mounts", &mounts) < 0)
        return -1;
    if (!json_is_array(mounts))
        return err_set(err, E_PROTO, "unmount: 'mounts' is no list");
    if (!g->options->no_identity && identity_unmount(mounts, err) < 0)
        return -1;
    *result = json_object();
    return 0;
}

static int op_sync(struct guest *g, const json_t *request, json_t **result,
                   struct err *err)
{
    sync();
    *result = json_object();
    return 0;
}

static int op_shutdown(struct guest *g, const json_t *request, json_t **result,
                       struct err *err)
{
    const char *how = "poweroff";
    if (rpc_unpack((json_t *)request, err, "shutdown", "{s?s}", "how", &how) < 0)
        return -1;
    if (strcmp(how, "poweroff") && strcmp(how, "reboot"))
        return err_set(err, E_PROTO, "shutdown: '%s' is neither poweroff nor reboot",
                       how);
    if (g->options->no_identity)
        return err_set(err, E_STATE, "this lodge-guest leaves the machine alone");
    g->power = strcmp(how, "reboot") ? POWER_OFF : POWER_REBOOT;
    *result = json_object();
    return 0;
}

/* "Name:   123 kB" of /proc/meminfo in bytes. */
static json_int_t meminfo(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    return at ? strtoll(at + strlen(name) + 1, NULL, 10) * 1024 : 0;
}

static json_t *cpu_times(void)
{
    AUTO_STR text = NULL;
    unsigned long long t[8] = {0};
    double ms = 1000.0 / sysconf(_SC_CLK_TCK);
    if (fd_read_file("/proc/stat", 1 << 20, &text, NULL, NULL) == 0) {
        char *p = text + strcspn(text, " ");
        for (size_t i = 0; i < ARRAY_SIZE(t); i++)
            t[i] = strtoull(p, &p, 10);
    }
    return json_pack(
        "{s:I, s:I, s:I, s:I, s:I}", "user", (json_int_t)((t[0] + t[1]) * ms), "system",
        (json_int_t)((t[2] + t[5] + t[6]) * ms), "idle", (json_int_t)(t[3] * ms),
        "iowait", (json_int_t)(t[4] * ms), "steal", (json_int_t)(t[7] * ms));
}

static int op_load(struct guest *g, const json_t *request, json_t **result,
                   struct err *err)
{
    struct sysinfo si;
    AUTO_STR mem = NULL;
    if (sysinfo(&si) < 0)
        return err_sys(err, "sysinfo");
    if (fd_read_file("/proc/meminfo", 1 << 16, &mem, NULL, err) < 0)
        return -1;
    double unit = 1 << SI_LOAD_SHIFT;
    *result = json_pack(
        "{s:[f,f,f], s:i, s:I, s:o, s:{s:I, s:I, s:I, s:I, s:I}, s:i, s:I}", "load",
        si.loads[0] / unit, si.loads[1] / unit, si.loads[2] / unit, "cpus",
        (int)sysconf(_SC_NPROCESSORS_ONLN), "uptime_ms", (json_int_t)si.uptime * 1000,
        "cpu_ms", cpu_times(), "memory", "total", meminfo(mem, "MemTotal"), "free",
        meminfo(mem, "MemFree"), "available", meminfo(mem, "MemAvailable"),
        "swap_total", meminfo(mem, "SwapTotal"), "swap_free", meminfo(mem, "SwapFree"),
        "processes", (int)si.procs, "commands", (json_int_t)g->nexecs);
    return 0;
}

static const struct {
    const char *name;
    int (*run)(struct guest *, const json_t *, json_t **result, struct err *);
} ops[] = {
    {"ping", op_ping},         {"identity", op_identity}, {"freeze", op_freeze},
    {"thaw", op_thaw},         {"sync", op_sync},         {"load", op_load},
    {"shutdown", op_shutdown}, {"unmount", op_unmount},
};

void ops_open(struct guest *g, const struct chan_event *ev)
{
    AUTO_JSON request = NULL;
    const char *op;
    struct err err;
    uint32_t stream = ev->stream;
    if (chan_parse(ev, &request, &err) < 0 ||
        rpc_unpack(request, &err, "request", "{s:s}", "op", &op) < 0) {
        ops_refuse(g, stream, &err);
        return;
    }
    if (!strcmp(op, "exec") || !strcmp(op, "put") || !strcmp(op, "get")) {
        exec_open(g, stream, op, request);
        return;
    }
    if (!strcmp(op, "attach")) {
        exec_attach(g, stream, request);
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
        json_t *result = NULL;
        if (strcmp(ops[i].name, op))
            continue;
        if (ops[i].run(g, request, &result, &err) < 0)
            ops_refuse(g, stream, &err);
        else
            ops_answer(g, stream, result);
        return;
    }
    err_set(&err, E_PROTO, "this guest does not know the request '%s'", op);
    ops_refuse(g, stream, &err);
}
