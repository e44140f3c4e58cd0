/* moving: weights that a mapped file holds get memory of their own while the model works. Private to the room. SPDX-License-Identifier: Apache-2.0
 *
 * A start maps what is kept, so that it takes no time; but a mapped file lies on small pages, from which a core reads a quarter slower than from
 * huge ones (base/huge.h). So a thread copies the matrices, with the lowest priority, and what drives the passes takes each copy between two of
 * them. Equal bytes: no result depends on when. Where there is no room for the copies they stay in the file. */
#ifndef MODEL_MOVING_H
#define MODEL_MOVING_H
#include <pthread.h>

#include "base/huge.h"
#include "model/model.h"

struct moving_view {
  struct weight *weight;
  struct slice mapped;
  void *copy; /* written before n_copied says so */
};

struct moving { /* {0} is empty */
  struct moving_view *views;
  size_t n, cap, n_taken;
  uint64_t bytes;
  struct model_mapped *all; /* what all models have in files; or NULL */
  struct huge memory;
  bool started;
  pthread_t thread;
  atomic_bool stop, ended; /* ended: the thread will do nothing more */
  atomic_size_t n_copied;
};

/* A view (weight_view). Not after moving_begin. */
void moving_add(struct moving *m, struct weight *view);
/* Starts to copy. path: the file's, for the log. reserved_bytes: of the memory that the system calls free so much is promised to others; it may
 * count what models loaded just before are copying now, and so refuse a little early. */
void moving_begin(struct moving *m, const char *path, uint64_t reserved_bytes);
/* On the thread that drives passes, while none runs. True when every view has its copy and the thread has ended: the file is not needed any more. */
bool moving_take(struct moving *m);
/* Stops, and leaves {0}. Views that took their copies have them; the others may be freed already. */
void moving_end(struct moving *m);

#endif
