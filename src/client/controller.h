/* SPDX-License-Identifier: Apache-2.0 */
/* The way to lodged, for the command line and for who asks it for a node. */
#pragma once
#include "proto/client.h"

/* $LODGE_CONTROLLER_SOCKET, else lodged in our run directory, else the system's, else the
 * one that the site's configuration names (by lodge-gate). Where none of them is there
 * *out is NULL and that is no error: then Lodge works alone on this machine. */
int client_controller_find(struct rpc_client **out, struct err *err);
/* The same, but it must be there. */
int client_controller_open(struct rpc_client **out, struct err *err);
