/* kept: packed weights kept in a file, so that a second start maps them. Private to the room. SPDX-License-Identifier: Apache-2.0
 *
 * A folder of the model's own holds HASH.MODE.LAYOUT.safetensors: the packed matrices under one compute mode, each as bytes, under a name that
 * says its key and form (doc/format/packed.md). HASH is file_model_identity: a model that was changed has another one. The file appears
 * whole, synced, by a rename; of several processes that would write it one does. What cannot be read or written is said in the log and costs only
 * time: packing works without it. */
#ifndef MODEL_KEPT_H
#define MODEL_KEPT_H
#include "model/model.h"

struct kept;

/* Begins a load; dir is made when it is missing. NULL dir: NULL, which every function here takes. mapped: model_options. */
struct kept *kept_begin(const char *dir, const struct file_model *file, enum compute_mode mode, struct model_mapped *mapped);
/* The matrix under this key with this shape out of the file; NULL: pack it, and tell kept_add. */
struct weight *kept_find(struct kept *k, const char *key, size_t n_out, size_t n_in);
void kept_add(struct kept *k, const char *key, const struct weight *w);
/* The model is loaded. A thread of its own writes the file where something was added, from weights that are not changed; else it copies the matrices
 * out of the file (moving.h; reserved_bytes: there). */
void kept_work(struct kept *k, uint64_t reserved_bytes);
/* Between two passes, on the thread that drives them: matrices that are copied move. */
void kept_take(struct kept *k);
/* Waits for the threads, telling them to stop. Before the weights of a loaded model are freed; those of a load that failed are gone already. */
void kept_end(struct kept *k);
/* All views are freed. */
void kept_free(struct kept *k);

#endif
