/* SPDX-License-Identifier: Apache-2.0 */
/* What a user can do who tells sbatch to load another plugin than the site's: put any
 * text in the place of ours into the job. For test/t4120-slurm-trust.t. */
#include <stdint.h> /* before spank.h, which needs it */

#include <slurm/spank.h>
#include <stdlib.h>

SPANK_PLUGIN(forge, 1)

int slurm_spank_init_post_opt(spank_t sp, int argc, char **argv);
int slurm_spank_init_post_opt(spank_t sp, int argc, char **argv)
{
    const char *text = getenv("FORGED_JOB");
    spank_context_t where = spank_context();

    if (text && (where == S_CTX_LOCAL || where == S_CTX_ALLOCATOR))
        spank_job_control_setenv(sp, "LODGE_JOB", text, 1);
    return 0;
}
