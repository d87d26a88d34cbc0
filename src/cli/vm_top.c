/* SPDX-License-Identifier: Apache-2.0 */
/* lodge vm top: the machines and what they use, drawn again every two seconds; once when
 * the output is not a terminal. */
#include "cli/vm.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "client/agent.h"

enum { EVERY_S = 2, ROWS_MAX = 256 };

static const struct cli_column columns[] = {
    {"name", CLI_TEXT, .help = "its name"},
    {"state", CLI_STATE, .help = "state"},
    {"type", CLI_TEXT, .help = "virtualization"},
    {"cpu", CLI_TEXT, .help = "percent of one CPU since the last look"},
    {"rss_bytes", CLI_BYTES, .help = "memory in use on the host"},
    {"vcpus", CLI_NUM, .help = "virtual CPUs"},
    {"memory_bytes", CLI_BYTES, .help = "memory"},
    {"job", CLI_TEXT, .help = "batch job"},
    {0},
};

struct usage {
    long pid;
    unsigned long long ticks;
};

/* CPU time and memory of the hypervisor, as everybody may read them. */
static bool usage_of(long pid, unsigned long long *ticks, json_int_t *rss)
{
    char path[40];
    AUTO_STR text = NULL;
    unsigned long long user, system;
    long pages;
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    if (pid <= 0 || fd_read_file(path, 4096, &text, NULL, NULL) < 0)
        return false;
    char *p = strrchr(text, ')');
    if (!p || sscanf(p + 1,
                     " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d "
                     "%*d %*d %*d %*d %*u %*u %ld",
                     &user, &system, &pages) != 3)
        return false;
    *ticks = user + system;
    *rss = (json_int_t)pages * sysconf(_SC_PAGESIZE);
    return true;
}

static void measure(json_t *vms, struct usage *was, size_t *nwas)
{
    struct usage now[ROWS_MAX];
    size_t n = 0, i;
    json_t *vm;
    json_array_foreach (vms, i, vm) {
        long pid = json_integer_value(json_object_get(vm, "pid"));
        json_int_t rss;
        unsigned long long ticks;
        if (n == ROWS_MAX || !usage_of(pid, &ticks, &rss))
            continue;
        json_object_set_new(vm, "rss_bytes", json_integer(rss));
        for (size_t k = 0; k < *nwas; k++) {
            char percent[16];
            if (was[k].pid != pid)
                continue;
            snprintf(percent, sizeof percent, "%.0f%%",
                     100.0 * (ticks - was[k].ticks) / sysconf(_SC_CLK_TCK) / EVERY_S);
            json_object_set_new(vm, "cpu", json_string(percent));
        }
        now[n++] = (struct usage){.pid = pid, .ticks = ticks};
    }
    memcpy(was, now, n * sizeof *now);
    *nwas = n;
}

int vm_run_top(struct cli *cli, int nargs, char **args, struct err *err)
{
    AUTO(rpc_client) agent = NULL;
    struct usage was[ROWS_MAX];
    size_t nwas = 0;
    if (client_agent_again(&agent, err) < 0)
        return -1;
    bool again = isatty(1) && !cli->json;
    do {
        AUTO_JSON answer = NULL;
        if (rpc_client_call(agent, "vm.list", NULL, NULL, &answer, err) < 0)
            return -1;
        json_t *vms = json_object_get(answer, "vms");
        measure(vms, was, &nwas);
        if (again)
            fputs("\033[H\033[J", stdout);
        if (cli_table(cli, columns, vms, err) < 0)
            return -1;
        fflush(stdout);
        if (again)
            sleep(EVERY_S);
    } while (again);
    return 0;
}
