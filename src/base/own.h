/* SPDX-License-Identifier: Apache-2.0 */
/* Ownership: AUTO(type) frees a "struct type *" by type_free() at the end of scope;
 * AUTO_STR frees a char * (one a declaration), AUTO_FD closes a descriptor, AUTO_JSON drops a reference;
 * move(p) hands a pointer over and clears it, move_fd() does so for descriptors. */
#pragma once
#include <stdlib.h>
#include <unistd.h>

#define OWN_DEFINE(type)                                                               \
    static inline void own_##type##_cleanup(struct type **p)                           \
    {                                                                                  \
        type##_free(*p);                                                               \
    }
#define AUTO(type) __attribute__((cleanup(own_##type##_cleanup))) struct type *

static inline void own_str_cleanup(char **p)
{
    free(*p);
}
#define AUTO_STR __attribute__((cleanup(own_str_cleanup))) char *

static inline void own_fd_cleanup(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}
#define AUTO_FD __attribute__((cleanup(own_fd_cleanup))) int

/* For any pointer with a void fn(T *) that frees it: OWN_CLEANUP(json_t, json_decref).
 */
#define OWN_CLEANUP(type, fn)                                                          \
    static inline void own_##type##_cleanup(type **p)                                  \
    {                                                                                  \
        if (*p)                                                                        \
            fn(*p);                                                                    \
    }
#define AUTO_T(type) __attribute__((cleanup(own_##type##_cleanup))) type *

#define move(p)                                                                        \
    ({                                                                                 \
        __typeof__(p) moved_ = (p);                                                    \
        (p) = NULL;                                                                    \
        moved_;                                                                        \
    })
#define move_fd(fd)                                                                    \
    ({                                                                                 \
        int moved_ = (fd);                                                             \
        (fd) = -1;                                                                     \
        moved_;                                                                        \
    })

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
