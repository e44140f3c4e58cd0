/* pool: the compute threads. SPDX-License-Identifier: Apache-2.0
 *
 * One pool a process. pool_run splits a job into tiles. A thread takes those of a span of its own first, in order, so that it reads
 * neighbours one after the other; then what is left of the others', so that a thread that the system holds up does not hold the job. Which
 * thread computes a tile must not matter to the result. The calling thread works too. Waiting threads spin for a few microseconds, then
 * sleep; an idle pool uses no CPU. pool_run is for one caller at a time. */
#ifndef BASE_POOL_H
#define BASE_POOL_H
#include "base/error.h"

struct pool;
/* tile in [0, n_tiles); worker in [0, pool_threads): an index for per-thread scratch. */
typedef void pool_fn(void *job, int tile, int worker);

/* n_threads counts the caller; 0 means cores_usable(). */
struct pool *pool_create(int n_threads, struct error *err);
void pool_destroy(struct pool *p); /* NULL is fine */
int pool_threads(const struct pool *p);
/* Returns when every tile is done. One tile, or one thread: runs on the caller without waking anyone. */
void pool_run(struct pool *p, pool_fn *fn, void *job, int n_tiles);

#endif
