/* SPDX-License-Identifier: Apache-2.0 */
/* What ticket.c needs of keys and nobody else: sign and verify bytes. */
#pragma once
#include "proto/ticket.h"

#include <sodium.h>

void ticket_key_sign(const struct ticket_key *k, const void *data, size_t len,
                     unsigned char sig[crypto_sign_BYTES]);
/* 1: fits; 0: does not; -1: no such key is trusted. */
int ticket_keys_verify(const struct ticket_keys *keys, const char *id, const void *data,
                       size_t len, const unsigned char sig[crypto_sign_BYTES]);
