/* mem: allocation that cannot fail quietly. SPDX-License-Identifier: Apache-2.0
 *
 * Small bookkeeping memory: on exhaustion the process says so and aborts; the supervisor starts it again. Large memory whose
 * size comes from outside (weights, KV pages, request bodies) is bounded and admitted first, by the rooms that own it, with
 * plain malloc or mmap and an error for the user. */
#ifndef BASE_MEM_H
#define BASE_MEM_H
#include <stddef.h>
#include <stdint.h>

void *mem_alloc(size_t size);                            /* malloc; never NULL */
void *mem_zalloc(size_t count, size_t size);             /* calloc; never NULL */
void *mem_realloc(void *old, size_t count, size_t size); /* checks count * size; never NULL */
void *mem_dup(const void *data, size_t len);             /* copy with a NUL behind it */
char *mem_strdup(const char *text);
void *mem_aligned(size_t alignment, size_t size); /* free() releases; contents undefined; never NULL */

size_t mem_page_bytes(void); /* of the system's small pages */

/* Memory that the system could give now (MemAvailable, and what limits of control groups leave where that is less): what large memory is
 * admitted against. Pages of mapped files count as free. */
uint64_t mem_available_bytes(void);
uint64_t mem_available_in(const char *root); /* with root in front of /proc and /sys; for tests */

#endif
