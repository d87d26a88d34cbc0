/* SPDX-License-Identifier: Apache-2.0 */
/* An OCI image layout with one layer, the same bytes for the same root. */
#pragma once
#include "base/err.h"

/* Make the directory dir from the tar of a root; dir must not exist. The tar is moved or
 * copied. */
int oci_write(const char *tar, const char *dir, const char *tag, struct err *err);
