/* SPDX-License-Identifier: Apache-2.0 */
/* The callbacks. Slurm 22.05 takes only negative returns as failures, later ones any
 * but 0: we return 0 or -1. A message by slurm_error() reaches the user in sbatch,
 * salloc, srun and in a task; elsewhere the daemon's log. */
#include "plugin.h"

#include <string.h>

SPANK_PLUGIN(lodge, 1)

static int answer(spank_t sp, int argc, char **argv,
                  int (*act)(spank_t, const struct plugin_args *, struct err *))
{
    struct plugin_args a;
    struct err err = {0};

    plugin_args(argc, argv, &a);
    if (act(sp, &a, &err) >= 0)
        return 0;
    slurm_error("lodge: %s", err.text);
    return -1;
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
    return where == S_CTX_LOCAL || where == S_CTX_ALLOCATOR
               ? answer(sp, argc, argv, plugin_submit)
               : 0;
}

int slurm_spank_job_prolog(spank_t sp, int argc, char **argv);
int slurm_spank_job_prolog(spank_t sp, int argc, char **argv)
{
    return answer(sp, argc, argv, node_prolog);
}

/* Called for every task; the external step has exactly one on each node. Its failures
 * are the job's and are told by task_init: here they are only logged. */
int slurm_spank_task_post_fork(spank_t sp, int argc, char **argv);
int slurm_spank_task_post_fork(spank_t sp, int argc, char **argv)
{
    uint32_t step = 0;

    if (spank_get_item(sp, S_JOB_STEPID, &step) != ESPANK_SUCCESS ||
        step != STEP_EXTERN)
        return 0;
    answer(sp, argc, argv, node_extern);
    return 0;
}

int slurm_spank_task_init(spank_t sp, int argc, char **argv);
int slurm_spank_task_init(spank_t sp, int argc, char **argv)
{
    return answer(sp, argc, argv, task_init);
}

int slurm_spank_job_epilog(spank_t sp, int argc, char **argv);
int slurm_spank_job_epilog(spank_t sp, int argc, char **argv)
{
    return answer(sp, argc, argv, node_epilog);
}
