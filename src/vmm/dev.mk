# SPDX-License-Identifier: Apache-2.0
# PCI, virtio and devices of lodge-vmm: added to libvmm.la.
vmm_dev_sources =
