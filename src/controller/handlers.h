/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of methods, one a noun; each ends with a NULL name. */
#pragma once
#include "controller/dispatch.h"

extern const struct dispatch_method dispatch_profile[];
extern const struct dispatch_method dispatch_cluster[];
extern const struct dispatch_method dispatch_image[];
extern const struct dispatch_method dispatch_node[];
extern const struct dispatch_method dispatch_op[];
extern const struct dispatch_method dispatch_events[];
extern const struct dispatch_method dispatch_ticket[];
