# SPDX-License-Identifier: Apache-2.0
dist_noinst_SCRIPTS += bench/cli bench/image
dist_noinst_SCRIPTS += bench/vmm/run bench/vmm/boot.py bench/vmm/boot.init
