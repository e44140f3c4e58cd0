/* models_watch: notices what becomes of the models folder while it is served. SPDX-License-Identifier: Apache-2.0
 *
 * The folder is looked through every second by a worker. A model counts when two looks in a row found it with the same files (sizes, times, inodes), so
 * that one which is being copied is left alone until it is whole; an import puts a model in place at once. Looking is as good on a network file
 * system as on any other, which being told by the kernel is not. */
#ifndef APP_MODELS_WATCH_H
#define APP_MODELS_WATCH_H
#include "app/paths.h"
#include "base/loop.h"
#include "serving/serving.h"

/* A number that changes with the files of each model: stamps[models->n], new memory. What an import writes about a model does not count. Any thread. */
uint64_t *models_watch_stamps(const char *dir, const struct paths_models *models);

/* What serving is told of each model: specs[models->n], which borrow the models' strings. cache as below. */
struct serving_model *models_watch_specs(const struct paths_models *models, const uint64_t *stamps, const char *cache);
void models_watch_specs_free(struct serving_model *specs, size_t n);

struct models_watch;
/* cache: the folder for packed weights, from which those of models that are gone are removed; or NULL. */
struct models_watch *models_watch_start(struct loop *loop, struct serving *serving, const char *dir, const char *cache);
/* Before serving is stopped. The memory is kept until a look that is under way has ended. NULL is fine. */
void models_watch_stop(struct models_watch *w);

#endif
