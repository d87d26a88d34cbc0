/* SPDX-License-Identifier: Apache-2.0 */
/* Made from schema/profile.xsd at build time: documents are validated against the
 * schema this program was built with and nothing else. */
#pragma once

extern const char schema_profile_xsd[];
