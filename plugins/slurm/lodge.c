/* SPDX-License-Identifier: Apache-2.0 */
/* The callbacks. Slurm 22.05 takes only negative returns as failures, later ones any
 * but 0: we return 0 or -1. A message by slurm_error() reaches the user in sbatch,
 * salloc, srun and in a task; elsewhere the daemon's log. */
#include "plugin.h"

#include <string.h>

SPANK_PLUGIN(lodge, 1)

static int tell(int rc, const struct err *err)
{
    if (rc < 0)
        slurm_error("lodge: %s", err->text);
    return rc < 0 ? -1 : 0;
}

int slurm_spank_init(spank_t sp, int argc, char **argv);
int slurm_spank_init(spank_t sp, int argc, char **argv)
{
    switch (spank_context()) {
    case S_CTX_LOCAL:
    case S_CTX_ALLOCATOR:
    case S_CTX_REMOTE:
        return plugin_options_register(sp);
    default:
        return 0;
    }
}

int slurm_spank_init_post_opt(spank_t sp, int argc, char **argv);
int slurm_spank_init_post_opt(spank_t sp, int argc, char **argv)
{
    spank_context_t where = spank_context();
    struct plugin_args a;
    struct err err = {0};

    if (where != S_CTX_LOCAL && where != S_CTX_ALLOCATOR)
        return 0;
    plugin_args(argc, argv, &a);
    return tell(plugin_submit(sp, &a, &err), &err);
}

int slurm_spank_job_prolog(spank_t sp, int argc, char **argv);
int slurm_spank_job_prolog(spank_t sp, int argc, char **argv)
{
    struct plugin_args a;
    struct err err = {0};

    plugin_args(argc, argv, &a);
    return tell(node_prolog(sp, &a, &err), &err);
}

/* Called for every task; the external step has exactly one on each node. Its failures
 * are the job's and are told by task_init: here they are only logged. */
int slurm_spank_task_post_fork(spank_t sp, int argc, char **argv);
int slurm_spank_task_post_fork(spank_t sp, int argc, char **argv)
{
    struct plugin_args a;
    struct err err = {0};
    uint32_t step = 0;

    if (spank_get_item(sp, S_JOB_STEPID, &step) != ESPANK_SUCCESS ||
        step != STEP_EXTERN)
        return 0;
    plugin_args(argc, argv, &a);
    tell(node_extern(sp, &a, &err), &err);
    return 0;
}

int slurm_spank_task_init(spank_t sp, int argc, char **argv);
int slurm_spank_task_init(spank_t sp, int argc, char **argv)
{
    struct plugin_args a;
    struct err err = {0};

    plugin_args(argc, argv, &a);
    return tell(task_init(sp, &a, &err), &err);
}

int slurm_spank_job_epilog(spank_t sp, int argc, char **argv);
int slurm_spank_job_epilog(spank_t sp, int argc, char **argv)
{
    struct plugin_args a;
    struct err err = {0};

    plugin_args(argc, argv, &a);
    return tell(node_epilog(sp, &a, &err), &err);
}
