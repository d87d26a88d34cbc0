/* SPDX-License-Identifier: Apache-2.0 */
/* Made from schema/image.xsd at build time: definitions are held against the schema this
 * program was built with and nothing else. */
#pragma once

extern const char schema_image_xsd[];
