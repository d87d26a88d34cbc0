/* SPDX-License-Identifier: Apache-2.0 */
/* Devices that were passed through: their drivers, from the image's modules. Where the
 * image has an init of its own, that is udev's business. */
#pragma once

/* Load what fits the PCI devices that have no driver yet; waits until it is there. */
void drivers_load(void);
