/* pooling: what the files of sentence-transformers say of an embedding; see encoder.h. SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "base/js.h"
#include "model/encoder.h"

/* The last part of a module's type: "sentence_transformers.models.Pooling" -> "Pooling". */
static struct slice module_kind(const struct js *module) {
  struct slice type = {0};
  js_str(js_get(module, "type"), &type);
  for (size_t i = type.len; i > 0; i--)
    if (type.data[i - 1] == '.') return slice_from(type, i);
  return type;
}

static int read_pooling_file(const struct file_model *file, const struct js *module, struct model_info *info, struct error *err) {
  struct slice folder = {0};
  js_str(js_get(module, "path"), &folder);
  struct buf name = {0};
  buf_printf(&name, "%.*s/config.json", SLICE_ARG(folder));
  struct js *pooling = NULL;
  int result = file_model_json(file, name.data, &pooling, err);
  if (result == 0 && !pooling)
    result = error_set(err, ERROR_CORRUPT, "%s: modules.json names a Pooling module, but %s is missing.", file->path, name.data);
  buf_free(&name);
  if (result < 0) return -1;
  bool cls = false, mean = false, other = false;
  for (void *it = js_iter(pooling); it; it = js_iter_next(pooling, it)) {
    struct slice key;
    const struct js *value;
    bool on = false;
    js_iter_get(it, &key, &value);
    struct slice mode;
    if (slice_eq(key, SLICE("pooling_mode")) && js_str(value, &mode)) { /* newer files name it */
      cls = cls || slice_eq(mode, SLICE("cls"));
      mean = mean || slice_eq(mode, SLICE("mean"));
      other = other || (!slice_eq(mode, SLICE("cls")) && !slice_eq(mode, SLICE("mean")));
    }
    if (!slice_starts(key, SLICE("pooling_mode_")) || !js_bool(value, &on) || !on) continue;
    if (slice_eq(key, SLICE("pooling_mode_cls_token"))) cls = true;
    else if (slice_eq(key, SLICE("pooling_mode_mean_tokens"))) mean = true;
    else other = true;
  }
  js_free(pooling);
  if (other || cls == mean)
    return error_set(err, ERROR_UNSUPPORTED, "%s: the pooling of %.*s/config.json is not supported; it must be CLS or mean, and only one.",
                     file->path, SLICE_ARG(folder));
  info->pooling = cls ? MODEL_POOL_CLS : MODEL_POOL_MEAN;
  return 0;
}

/* A cross-encoder says how well two texts fit and gives no vector; with modules.json its encoder is meant. */
static int refuse_classifier(const struct file_model *file, struct error *err) {
  struct slice name, end = SLICE("ForSequenceClassification");
  if (!js_str(js_at(js_get(file->config, "architectures"), 0), &name) || name.len < end.len) return 0;
  if (!slice_eq(slice_from(name, name.len - end.len), end)) return 0;
  return error_set(err, ERROR_UNSUPPORTED, "%s: architectures = [\"%.*s\"] is a classifier, which gives no embeddings.", file->path,
                   SLICE_ARG(name));
}

/* modules.json of sentence-transformers: Transformer, Pooling, and maybe Normalize. */
static int read_modules(const struct file_model *file, struct model_info *info, struct error *err) {
  struct js *modules = NULL;
  if (file_model_json(file, "modules.json", &modules, err) < 0) return -1;
  int result = 0;
  for (size_t i = 0; i < js_len(modules) && result == 0; i++) {
    const struct js *module = js_at(modules, i);
    struct slice kind = module_kind(module);
    if (slice_eq(kind, SLICE("Transformer"))) continue;
    if (slice_eq(kind, SLICE("Normalize"))) info->normalize = true;
    else if (slice_eq(kind, SLICE("Pooling"))) result = read_pooling_file(file, module, info, err);
    else
      result = error_set(err, ERROR_UNSUPPORTED, "%s: the module \"%.*s\" in modules.json is not supported.", file->path, SLICE_ARG(kind));
  }
  if (!modules) result = refuse_classifier(file, err);
  js_free(modules);
  return result;
}

/* As sentence-transformers does: max_seq_length; where that is not given (its version 6 does not write it), the tokenizer's own limit. */
static int read_window(const struct file_model *file, struct model_info *info, struct error *err) {
  static const char *const names[] = {"sentence_bert_config.json", "tokenizer_config.json"};
  static const char *const keys[] = {"max_seq_length", "model_max_length"};
  for (size_t i = 0; i < 2; i++) {
    struct js *json = NULL;
    int64_t window = 0;
    if (file_model_json(file, names[i], &json, err) < 0) return -1;
    bool given = js_int(js_get(json, keys[i]), &window) && window > 0;
    js_free(json);
    if (given && (uint64_t)window < info->context_tokens) info->context_tokens = (size_t)window;
    if (given) break;
  }
  return 0;
}

int pooling_read(const struct file_model *file, struct model_info *info, struct error *err) {
  return read_modules(file, info, err) < 0 || read_window(file, info, err) < 0 ? -1 : 0;
}
