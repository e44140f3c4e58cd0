/* local: see local.h. SPDX-License-Identifier: Apache-2.0 */
#include "app/local.h"

#include <stdlib.h>
#include <string.h>

#include "app/data_dir.h"
#include "app/paths.h"
#include "app/variants.h"
#include "base/fs.h"
#include "base/mem.h"

/* With what a server recorded of this machine, if one did. */
static struct compute *open_compute(enum compute_mode mode, struct pool *pool, const char *kernels, struct error *err) {
  if (kernels && strcmp(kernels, "auto") != 0) return variants_compute(mode, pool, kernels, err);
  struct compute *c = variants_compute(mode, pool, "auto", err);
  char *data = c ? data_dir_path(NULL) : NULL, *folder = data ? fs_join(data, "cache") : NULL;
  if (folder) variants_read(c, folder);
  free(folder);
  free(data);
  return c;
}

static int load(struct local *l, const struct file_model *file, const struct local_options *o, struct error *err) {
  int mode = compute_mode_parse(o->compute);
  if (mode < 0) return error_set(err, ERROR_INVALID, "There is no compute mode \"%s\"; use fast, precise or f32.", o->compute);
  int kv = o->kv ? kv_type_parse(o->kv) : KV_F16;
  if (kv < 0) return error_set(err, ERROR_INVALID, "There is no type of keys and values \"%s\"; use f16 or q8.", o->kv);
  struct model_options options = {.rows_max = o->rows_max, .out_rows_max = o->out_rows_max, .kv = (enum kv_type)kv};
  if (!(l->pool = pool_create(o->threads, err)) || !(l->compute = open_compute((enum compute_mode)mode, l->pool, o->kernels, err)) ||
      !(l->model = model_load(file, l->compute, &options, err)) || !(l->tokenizer = tokenizer_open(file, err)))
    return -1;
  l->info = model_info(l->model);
  l->context_tokens = l->info->context_tokens;
  l->chat_template = chat_template_open(file, l->tokenizer, &l->no_template);
  return 0;
}

/* An adapter's own chat template goes before its base's. */
static int load_adapter(struct local *l, const struct file_adapter *file, struct error *err) {
  if (!(l->adapter = adapter_load(file, l->model, NULL, err))) return -1;
  struct error none;
  struct file_model *texts = file_model_open_text(file->path, &none);
  struct chat_template *own = texts ? chat_template_open(texts, l->tokenizer, &none) : NULL;
  file_model_close(texts);
  if (!own) return 0;
  chat_template_close(l->chat_template);
  l->chat_template = own;
  return 0;
}

static int load_path(struct local *l, const char *path, const struct file_adapter *adapter, const struct local_options *o,
                     struct error *err) {
  struct file_model *file = file_model_open(path, err);
  int result = file ? load(l, file, o, err) : -1;
  file_model_close(file);
  return result == 0 && adapter ? load_adapter(l, adapter, err) : result;
}

static int load_with_base(struct local *l, const char *path, const struct local_options *o, struct error *err) {
  struct file_adapter *adapter = file_adapter_open(path, err);
  char *base = adapter ? paths_find_model(o->models_dir, adapter->base, err) : NULL;
  if (adapter && !base) error_prefix(err, "%s is an adapter of %s", path, adapter->base);
  int result = base ? load_path(l, base, adapter, o, err) : -1;
  file_adapter_close(adapter);
  free(base);
  return result;
}

int local_open(struct local *l, const struct local_options *o, struct error *err) {
  *l = (struct local){.speculation = o->speculation};
  char *path = paths_find_model(o->models_dir, o->model, err);
  int result = !path ? -1 : file_is_adapter(path) ? load_with_base(l, path, o, err) : load_path(l, path, NULL, o, err);
  if (path) l->name = paths_model_name(path);
  free(path);
  if (result < 0) local_close(l);
  return result;
}

void local_close(struct local *l) {
  chat_template_close(l->chat_template);
  tokenizer_close(l->tokenizer);
  adapter_free(l->adapter);
  model_free(l->model);
  compute_destroy(l->compute);
  pool_destroy(l->pool);
  free(l->name);
  *l = (struct local){0};
}

static struct slice token_bytes(void *ctx, int32_t id) {
  const struct tokenizer *t = ctx;
  return tokenizer_is_special(t, id) ? (struct slice){0} : tokenizer_token_bytes(t, id);
}

/* KV memory for so many whole contexts, as far as the machine has room beside the weights. */
static uint64_t kv_bytes(const struct local *l, size_t contexts) {
  size_t pages = (l->info->context_tokens + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
  uint64_t wanted = (uint64_t)contexts * pages * model_kv_layout(l->model).page_bytes, room = engine_memory_room(mem_available_bytes());
  return wanted < room ? wanted : room;
}

struct engine *local_engine(struct local *l, size_t contexts, struct error *err) {
  struct engine_config config = {
      .model = l->model, .speculation = l->speculation, .token_bytes = token_bytes, .token_bytes_ctx = l->tokenizer};
  if (l->info->task == MODEL_GENERATE && contexts) config.kv_bytes_max = kv_bytes(l, contexts);
  config.stop_ids = tokenizer_stop_ids(l->tokenizer, &config.n_stop_ids);
  struct engine *e = engine_create(&config, err);
  if (e) l->context_tokens = engine_context_tokens(e);
  return e;
}

const char *local_context_note(const struct local *l) {
  return l->context_tokens < l->info->context_tokens ? ", all that the free memory has room for," : "";
}
