# SPDX-License-Identifier: Apache-2.0
dist_noinst_DATA += docs/architecture.md docs/contributing.md \
    docs/protocol-guest.md
