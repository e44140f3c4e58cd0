/* moving: weights that a mapped file holds get memory of their own while the model works. Private to the room. SPDX-License-Identifier: Apache-2.0
 *
 * A start maps what is kept, so that it takes no time; but a mapped file lies on small pages, from which a core reads a quarter slower than from huge
 * ones (base/huge.h). So a thread copies the matrices, with the lowest priority, and what drives the passes takes each copy between two of them. Equal bytes:
 * no result depends on when. Where there is no room for the copies they stay in the file. */
#ifndef MODEL_MOVING_H
#define MODEL_MOVING_H
#include <pthread.h>
#include <stdatomic.h>

#include "base/huge.h"
#include "tensor/tensor.h"

struct moving_view {
  struct weight *weight;
  struct slice mapped;
  void *copy; /* written before n_copied says so */
};

struct moving { /* {0} is empty */
  struct moving_view *views;
  size_t n, cap, n_taken;
  uint64_t bytes, reserved_bytes;
  atomic_ullong *mapped; /* grows and falls by the bytes that are not copied; or NULL */
  struct huge memory;
  bool started;
  pthread_t thread;
  atomic_bool stop;
  atomic_size_t n_copied;
};

/* A view (weight_view). Not after moving_begin. */
void moving_add(struct moving *m, struct weight *view);
/* Starts to copy. reserved_bytes: of the memory that the system calls free so much is promised to others. */
void moving_begin(struct moving *m, uint64_t reserved_bytes);
/* On the thread that drives passes, while none runs. True when every view has its copy: the file is not needed any more. */
bool moving_take(struct moving *m);
/* Stops, and leaves {0}. Views that took their copies have them; the others may be freed already. */
void moving_end(struct moving *m);

#endif
