/* SPDX-License-Identifier: Apache-2.0 */
/* A tiny guest that tells a real KVM from one that interprets ring 0. */
#pragma once
#include "node/node.h"

/* Fill `kvm` from /dev/kvm. May hang on a broken KVM: the caller is a child. */
void node_kvm_probe(struct node_kvm *kvm);
