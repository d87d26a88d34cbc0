/* SPDX-License-Identifier: Apache-2.0 */
/* lodge-vmm: one machine on /dev/kvm. Reads the configuration, builds the machine, closes
 * the sandbox, runs it to its end, and tells by the exit status how it ended. */
#include "vmm/ckpt.h"
#include "vmm/sandbox.h"
#include "vmm/vm.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/proc.h"

#include <config.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { CONFIG_MAX = 1 << 20 };

/* Exit statuses; errors before the guest runs have those of base/err.h. */
static const struct {
    enum vm_end end;
    int status;
    const char *what;
} ends[] = {
    {VM_END_POWEROFF, 0, "the guest switched itself off"},
    {VM_END_REBOOT, 10, "the guest asked for a reboot"},
    {VM_END_PANIC, 11, "the guest's kernel panicked"},
    {VM_END_TRIPLE_FAULT, 12, "triple fault"},
    {VM_END_STOPPED, 13, "it did not switch itself off by the deadline of stop"},
    {VM_END_KILLED, 14, "killed by the control socket or a signal"},
    {VM_END_ERROR, 15, "KVM or a device failed (one line tells)"},
};

static void usage(void)
{
    printf(
        "Usage: lodge-vmm --config FILE|- [OPTION]...\n"
        "Run one virtual machine on /dev/kvm as the JSON document FILE says.\n\n"
        "  -c, --config FILE      the configuration; - reads standard input\n"
        "      --report-memory    build the machine, print where its memory is, exit\n"
        "      --check            check the configuration, exit\n"
        "      --no-sandbox       run without namespaces, seccomp and limits: a guest\n"
        "                         that breaks out of a device has all that you have\n"
        "  -v, --verbose          tell what is done\n"
        "  -h, --help             this text\n"
        "  -V, --version          the version\n\n"
        "Devices of this build (\"type\", then its members):\n");
    for (const struct device_ops *const *d = device_types; *d; d++)
        printf("  %-10s %s\n", (*d)->name, (*d)->help ? (*d)->help : "");
    printf("\nExit status, once the guest has run:\n");
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
        printf("  %3d  %s\n", ends[i].status, ends[i].what);
    printf("\nExample:\n"
           "  {\"memory\": {\"size_mib\": 256}, \"kernel\": \"vmlinux\", \"cmdline\": "
           "\"console=ttyS0\",\n"
           "   \"devices\": [{\"type\": \"serial\", \"stdio\": true}]}\n\n"
           "See lodge-vmm(8).\n");
}

struct options {
    const char *config;
    bool report, check, no_sandbox, verbose;
};

/* 0: go on; 1: done; 2: wrong. */
static int parse_options(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {{"config", required_argument, NULL, 'c'},
                                          {"report-memory", no_argument, NULL, 'r'},
                                          {"check", no_argument, NULL, 'k'},
                                          {"no-sandbox", no_argument, NULL, 'n'},
                                          {"verbose", no_argument, NULL, 'v'},
                                          {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'V'},
                                          {0}};
    int c;
    while ((c = getopt_long(argc, argv, "c:vhV", longs, NULL)) != -1) {
        if (c == 'h') {
            usage();
            return 1;
        }
        if (c == 'V') {
            printf("lodge-vmm %s\n", PACKAGE_VERSION);
            return 1;
        }
        if (c == '?')
            return 2;
        if (c == 'c')
            o->config = optarg;
        o->report |= c == 'r';
        o->check |= c == 'k';
        o->no_sandbox |= c == 'n';
        o->verbose |= c == 'v';
    }
    if (!o->config || optind < argc) {
        fprintf(stderr,
                "lodge-vmm: give one --config FILE; lodge-vmm --help tells more\n");
        return 2;
    }
    return 0;
}

static int read_config(const struct options *o, struct config **out, struct err *err)
{
    AUTO_STR text = NULL;
    size_t len;
    bool in = strcmp(o->config, "-") == 0;
    int r = in ? fd_slurp(STDIN_FILENO, "standard input", CONFIG_MAX, &text, &len, err)
               : fd_read_file(o->config, CONFIG_MAX, &text, &len, err);
    if (r < 0)
        return -1;
    return config_parse(text, len, in ? "standard input" : o->config, out, err);
}

/* Build, close the sandbox, run to the end. */
static int run(struct config *config, const struct options *o, enum vm_end *end,
               struct err *err)
{
    bool paused = config->paused;
    struct log_ctx ctx = {.vm = config->name};
    AUTO(vm) vm = NULL;
    if (vm_new(config, &vm, err) < 0)
        return -1;
    if (o->report) {
        json_t *report = memory_report(vm);
        json_dumpf(report, stdout, JSON_INDENT(2));
        printf("\n");
        json_decref(report);
        return 0;
    }
    bool thaw = vm->config->restore.mode != CONFIG_RESTORE_NONE;
    if ((!thaw && boot_load(vm, err) < 0) || control_init(vm, err) < 0 ||
        sandbox_close(vm, err) < 0 || vm_ckpt_start(vm, err) < 0 ||
        (thaw && vm_thaw(vm, err) < 0) || vm_threads_start(vm, err) < 0 ||
        sandbox_filters(vm, err) < 0)
        goto failed;
    log_debug(&ctx, "%u vCPUs, %llu MiB", vm->nvcpus,
              (unsigned long long)(vm->config->memory.size / MIB));
    if (!paused && vm_resume(vm, err) < 0)
        goto failed;
    proc_shed();
    if (control_run(vm, err) < 0)
        goto failed;
    *end = (enum vm_end)atomic_load(&vm->end);
    if (*end == VM_END_ERROR)
        log_error(&ctx, "%s", vm->fail.text);
    control_done(vm);
    return 0;
failed:
    control_done(vm);
    return -1;
}

#ifdef __SANITIZE_ADDRESS__
/* Leaks are looked for by a tracer, which the sandbox does not allow. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}
#endif

int main(int argc, char **argv)
{
    struct options o = {0};
    int parsed = parse_options(argc, argv, &o);
    if (parsed)
        return parsed == 1 ? 0 : 64;
    log_open("lodge-vmm", o.verbose ? LOG_L_DEBUG : LOG_L_INFO);
    struct err err = {0};
    struct config *config = NULL;
    enum vm_end end = VM_END_POWEROFF;
    int r = read_config(&o, &config, &err);
    if (r == 0 && o.check) {
        config_free(config);
        return 0;
    }
    if (r == 0 && (o.no_sandbox || !config->sandbox.enable)) {
        config->sandbox.enable = false;
        if (!o.report)
            log_warn(NULL,
                     "no sandbox: a guest that breaks out of a device has all "
                     "rights of uid %u, the network and every file it may open",
                     (unsigned)getuid());
    }
    if (r == 0 && !o.report)
        r = sandbox_enter(config, &err);
    if (r == 0)
        r = run(config, &o, &end, &err);
    if (r < 0) {
        log_error(NULL, "%s", err.text);
        return err_exit_status(&err);
    }
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
        if (ends[i].end == end)
            return ends[i].status;
    return 70;
}
