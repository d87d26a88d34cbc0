/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by net.c (the device, its queues in user space) and net_vhost.c (the same
 * queues by the host's kernel). */
#pragma once
#include "vmm/virtio.h"

#include <linux/virtio_net.h>

enum {
    NET_PAIRS_MAX = 16,
    NET_HEADER = sizeof(struct virtio_net_hdr_mrg_rxbuf),
    NET_PACKET_MAX = 65536 + 32 + NET_HEADER,
};

struct net_pair {
    struct net *n;
    unsigned index;
    int fd;     /* tap queue */
    int vhost;  /* vhost-net, or -1 */
    bool owned; /* vhost: by this process */
    struct io_watch watch;
    uint32_t events; /* watched for now */
    struct virtq_chain *chain, *first;
    uint8_t *packet; /* one that waits for buffers */
    size_t length;
    bool tx_blocked;
    atomic_ulong rx_packets, tx_packets, rx_bytes, tx_bytes, dropped;
};

struct net {
    struct virtio v;
    const char *tap, *mac_text;
    int fds[NET_PAIRS_MAX];
    unsigned nfds;
    int vhost, queues;
    struct virtio_net_config config;
    struct net_pair pair[NET_PAIRS_MAX];
    unsigned npairs, active;
};

/* Set-up: open /dev/vhost-net for each pair; what it cannot is taken off *features. */
int net_vhost_open(struct net *n, uint64_t *features, struct err *err);
int net_vhost_start(struct net *n, struct err *err);
void net_vhost_stop(struct net *n);
void net_vhost_vector(struct net *n, unsigned queue);
void net_vhost_close(struct net *n);
