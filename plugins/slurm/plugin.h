/* SPDX-License-Identifier: Apache-2.0 */
/* lodge.so, the SPANK plugin: what its files share.
 *
 *   lodge.c    the callbacks Slurm knows; each calls one function below
 *   options.c  the options and the arguments of plugstack.conf
 *   request.c  what else was asked of Slurm (memory, CPUs), for the check at submission
 *   submit.c   in sbatch, salloc and srun: check, get a ticket, send it with the job
 *   record.c   the node's own note about a job, which later callbacks read
 *   node.c     on a node as root: prolog, external step, epilog
 *   task.c     in a task's place: become lodge-exec
 *   cgroups.c  which control groups are the job's
 *   slurm-helper.c  a program of its own: sentinel, keeper, messages to slurmctld
 *
 * Rules: a job without our options costs one getenv and one open; nothing here exits,
 * aborts, leaves a descriptor open or waits without a deadline; all that comes from the
 * job's environment is the user's word and is checked again where it matters. */
#pragma once
#include <stdint.h> /* before spank.h, which needs it */

#include <slurm/spank.h>

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "proto/rpc.h"

/* Reserved step ids; slurm.h names them, but differs between versions. */
enum { PLUGIN_VMS_MAX = 64 };
#define STEP_EXTERN      0xfffffffcU
#define STEP_BATCH       0xfffffffbU
#define STEP_INTERACTIVE 0xfffffffaU

/* The arguments of our line in plugstack.conf: name=value. */
struct plugin_args {
    const char *agent;  /* socket of lodge-agent */
    const char *lodged; /* socket of lodged */
    const char *exec;   /* lodge-exec */
    const char *helper; /* lodge-slurm */
    const char *lodge;  /* the command line, for sites without lodged */
    const char *record; /* directory of the node's records */
};
/* Borrowed from argv or constants. An unknown argument is logged, never fatal. */
void plugin_args(int argc, char **argv, struct plugin_args *out);

/* What the user asked for; one job a process, filled by Slurm's option callbacks. */
struct plugin_options {
    const char *profile; /* NAME or FILE; */
    const char *cluster; /* or NAME; neither: a job without us */
    const char *image;
    unsigned vms; /* 0: not said */
    bool host_script, keep, dry_run;
};
/* Register the options: in slurm_spank_init() of every context that has them. */
int plugin_options_register(spank_t sp);
/* What the command line and the environment say; a bad value is an error. */
int plugin_options_get(struct plugin_options *out, struct err *err);

/* What was asked of Slurm itself, as far as sbatch's command line, script and
 * environment tell; 0: not known. */
struct plugin_request {
    uint64_t memory_mib; /* a node */
    unsigned cpus;       /* a node */
    unsigned nodes;      /* at least */
    bool array;          /* a job array: several jobs use the one ticket */
};
void plugin_request_get(struct plugin_request *out);
/* The same from given words; for tests. `script` may be NULL. */
void plugin_request_parse(char *const *argv, const char *script,
                          struct plugin_request *out);

int plugin_submit(spank_t sp, const struct plugin_args *a, struct err *err);

/* The name in the job's control environment, as we set it and as the prolog sees it. */
#define PLUGIN_ENV        "LODGE_JOB"
#define PLUGIN_ENV_PROLOG "SPANK_LODGE_JOB"

/* --- the node's record: a JSON object in RECORD_DIR/JOBID ------------------------- */
int record_write(const char *dir, uint32_t job, const json_t *record, struct err *err);
/* 1: *out is a new reference; 0: no such job of ours. */
int record_read(const char *dir, uint32_t job, json_t **out, struct err *err);
int record_remove(const char *dir, uint32_t job, struct err *err);

/* --- on the node ------------------------------------------------------------------ */
int node_prolog(spank_t sp, const struct plugin_args *a, struct err *err);
int node_extern(spank_t sp, const struct plugin_args *a, struct err *err);
int node_epilog(spank_t sp, const struct plugin_args *a, struct err *err);
int task_init(spank_t sp, const struct plugin_args *a, struct err *err);

/* The job's groups as {"memory": "/sys/fs/cgroup/memory/.../job_7", ...}, from where
 * process pid is; version 2: {"unified": ...}. Empty when Slurm makes none. */
json_t *cgroups_of_job(pid_t pid, uint32_t job);
/* The same from the texts of /proc/PID/cgroup and /proc/self/mountinfo; for tests. */
json_t *cgroups_parse(const char *cgroup, const char *mountinfo, uint32_t job);
/* Those of them that a machine is to be put into; a new reference. */
json_t *cgroups_for_vm(const json_t *groups);
/* Remove the groups that are still there; waits a little for the last process to go. */
void cgroups_remove(const json_t *groups);
