/* SPDX-License-Identifier: Apache-2.0 */
/* A doubly linked list through a member of the structure (as in the Linux kernel's). */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *prev;
};

#define LIST_INIT(l)                                                                   \
    {                                                                                  \
        .next = &(l), .prev = &(l)                                                     \
    }
#define list_entry(node, type, member) ((type *)((char *)(node)-offsetof(type, member)))
/* for each `pos` (a pointer to the structure) in `head`; _safe allows removing pos. */
#define list_each(pos, head, member)                                                   \
    for (pos = list_entry((head)->next, __typeof__(*pos), member);                     \
         &pos->member != (head);                                                       \
         pos = list_entry(pos->member.next, __typeof__(*pos), member))
#define list_each_safe(pos, tmp, head, member)                                         \
    for (pos = list_entry((head)->next, __typeof__(*pos), member),                     \
        tmp = list_entry(pos->member.next, __typeof__(*pos), member);                  \
         &pos->member != (head);                                                       \
         pos = tmp, tmp = list_entry(pos->member.next, __typeof__(*pos), member))

static inline void list_init(struct list *head)
{
    head->next = head->prev = head;
}

static inline bool list_is_empty(const struct list *head)
{
    return head->next == head;
}

/* Put node at the end. */
static inline void list_add(struct list *head, struct list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

/* Take node out; it may be taken out again without harm. */
static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}
