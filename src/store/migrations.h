/* SPDX-License-Identifier: Apache-2.0 */
/* Made from schema/db at build time. */
#pragma once

extern const char *const store_migrations[]; /* ends with NULL */
