/* SPDX-License-Identifier: Apache-2.0 */
/* The probes behind node_facts_probe(): each fills one member and may hang or crash,
 * since it runs in a child. */
#pragma once
#include "node/node.h"

void node_machine_probe(struct node_machine *m);
void node_memory_probe(struct node_memory *m);
void node_devices_probe(struct node_devices *d);
void node_cgroup_probe(struct node_cgroup *c);
void node_libvirt_probe(struct node_libvirt *l);
void node_qemu_probe(struct node_qemu *q);
void node_slurm_probe(struct node_slurm *s);
void node_munge_probe(struct node_munge *m);
void node_sshd_probe(struct node_sshd *s);
