/* SPDX-License-Identifier: Apache-2.0 */
/* CRC-32C of what is short: heads of frames, sections of saved state. Four bits at a time. */
#pragma once
#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(const void *data, size_t len);
