/* SPDX-License-Identifier: Apache-2.0 */
/* The options, their environment variables, and the arguments in plugstack.conf. */
#include "plugin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "base/str.h"

enum option {
    O_PROFILE,
    O_CLUSTER,
    O_VMS,
    O_IMAGE,
    O_SCRIPT,
    O_KEEP,
    O_DRY_RUN,
    O_COUNT
};

static int take(int val, const char *optarg, int remote);

/* SPANK wants a table it may keep; usage texts are what --help shows. */
static struct spank_option table[O_COUNT] = {
    [O_PROFILE] = {"vm-profile", "NAME|FILE",
                   "run the job in virtual machines of this profile", 1, O_PROFILE,
                   take},
    [O_CLUSTER] = {"vm-cluster", "NAME",
                   "run the job in the machines of this virtual cluster", 1, O_CLUSTER,
                   take},
    [O_VMS] = {"vms-per-node", "N", "virtual machines on each node (1)", 1, O_VMS,
               take},
    [O_IMAGE] = {"vm-image", "NAME[@VERSION]", "another image than the profile's", 1,
                 O_IMAGE, take},
    [O_SCRIPT] = {"vm-script", "guest|host", "where the batch script runs (guest)", 1,
                  O_SCRIPT, take},
    [O_KEEP] = {"vm-keep", NULL,
                "keep the machines after the script until the job's time ends", 0,
                O_KEEP, take},
    [O_DRY_RUN] = {"vm-dry-run", NULL, "say what would be booted; submit nothing", 0,
                   O_DRY_RUN, take},
};
/* Behind SBATCH_, SALLOC_ or SLURM_ (srun). */
static const char *const env_names[O_COUNT] = {
    "VM_PROFILE", "VM_CLUSTER", "VMS_PER_NODE", "VM_IMAGE",
    "VM_SCRIPT",  "VM_KEEP",    "VM_DRY_RUN",
};

/* SPANK's callback has no place for a pointer: the one job of this process. */
static char *given[O_COUNT];

static int take(int val, const char *optarg, int remote)
{
    char *copy;

    if (remote || val < 0 || val >= O_COUNT)
        return 0;
    copy = strdup(optarg ? optarg : "yes");
    if (!copy)
        return -1;
    free(given[val]);
    given[val] = copy;
    return 0;
}

int plugin_options_register(spank_t sp)
{
    for (int i = 0; i < O_COUNT; i++)
        if (spank_option_register(sp, &table[i]) != ESPANK_SUCCESS) {
            slurm_error("lodge: option --%s cannot be registered", table[i].name);
            return -1;
        }
    return 0;
}

static const char *value(enum option o)
{
    static const char *const tools[][2] = {
        {"sbatch", "SBATCH"}, {"salloc", "SALLOC"}, {"srun", "SLURM"}};
    char name[64];

    if (given[o])
        return given[o];
    for (size_t i = 0; i < ARRAY_SIZE(tools); i++)
        if (!strcmp(program_invocation_short_name, tools[i][0])) {
            snprintf(name, sizeof name, "%s_%s", tools[i][1], env_names[o]);
            const char *v = getenv(name);
            return str_empty(v) ? NULL : v;
        }
    return NULL;
}

int plugin_options_get(struct plugin_options *out, struct err *err)
{
    const char *vms = value(O_VMS), *script = value(O_SCRIPT);
    uint64_t n = 0;

    *out = (struct plugin_options){.profile = value(O_PROFILE),
                                   .cluster = value(O_CLUSTER),
                                   .image = value(O_IMAGE),
                                   .keep = value(O_KEEP),
                                   .dry_run = value(O_DRY_RUN)};
    /* Said on the command line, one outdoes the other in the environment. */
    if (out->profile && out->cluster && !given[O_PROFILE] != !given[O_CLUSTER])
        *(given[O_CLUSTER] ? &out->profile : &out->cluster) = NULL;
    if (out->profile && out->cluster)
        return err_set(err, E_USAGE, "give --vm-profile or --vm-cluster, not both");
    if (!out->profile && !out->cluster) {
        if (given[O_VMS] || given[O_IMAGE] || given[O_SCRIPT] || given[O_KEEP] ||
            given[O_DRY_RUN])
            return err_set(err, E_USAGE,
                           "the --vm options need --vm-profile=NAME; 'lodge profile "
                           "list' shows what there is");
        return 0;
    }
    if (out->cluster && (vms || out->image))
        return err_set(
            err, E_USAGE,
            "--vms-per-node and --vm-image are for --vm-profile; the cluster "
            "says how many machines of what there are");
    if (vms && (!str_to_u64(vms, &n) || n < 1 || n > PLUGIN_VMS_MAX))
        return err_set(err, E_USAGE, "--vms-per-node=%s: give a number from 1 to %d",
                       vms, PLUGIN_VMS_MAX);
    out->vms = (unsigned)n;
    if (script && strcmp(script, "guest") && strcmp(script, "host"))
        return err_set(err, E_USAGE, "--vm-script=%s: give 'guest' or 'host'", script);
    out->host_script = script && !strcmp(script, "host");
    return 0;
}

/* --- plugstack.conf ----------------------------------------------------------------
 */
static const char *arg(int argc, char **argv, const char *name, const char *usual)
{
    size_t len = strlen(name);

    for (int i = 0; i < argc; i++)
        if (!strncmp(argv[i], name, len) && argv[i][len] == '=')
            return argv[i] + len + 1;
    return usual;
}

void plugin_args(int argc, char **argv, struct plugin_args *out)
{
    *out = (struct plugin_args){
        .agent = arg(argc, argv, "agent", "/run/lodge/agent.sock"),
        .lodged = arg(argc, argv, "lodged", "/run/lodge/lodged.sock"),
        .exec = arg(argc, argv, "exec", LODGE_LIBEXECDIR "/lodge-exec"),
        .helper = arg(argc, argv, "helper", LODGE_LIBEXECDIR "/lodge-slurm"),
        .lodge = arg(argc, argv, "lodge", LODGE_BINDIR "/lodge"),
        .record = arg(argc, argv, "record", "/run/lodge/slurm"),
    };
}
