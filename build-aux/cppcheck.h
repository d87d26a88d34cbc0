/* SPDX-License-Identifier: Apache-2.0 */
/* Macros of libraries as cppcheck shall see them (it does not read the libraries). */
#define json_array_foreach(array, i, value) for (i = 0, value = array; i < 1; i++)
#define json_object_foreach(object, key, value)                                        \
    for (key = "", value = object; key; key = 0)
#define json_object_foreach_safe(object, next, key, value)                             \
    for (next = object, key = "", value = object; key; key = 0)
#define SPANK_PLUGIN(name, version)
