/* weight_cache: where the packed weights of each model are kept. SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_WEIGHT_CACHE_H
#define APP_WEIGHT_CACHE_H
#include "app/paths.h"

/* The folder in cache for the model at path: its name, which is that of its endpoint. In new memory. */
char *weight_cache_path(const char *cache, const char *model_path);
/* Removes what is kept of models that are not served any more; of other files in there nothing. */
void weight_cache_tidy(const char *cache, const struct paths_models *models);

#endif
