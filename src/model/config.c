/* config: one value from GGUF metadata or config.json; see arch.h. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>

#include "base/js.h"
#include "model/arch.h"

/* A value as found in either container. */
struct found {
  bool present;
  char key[96];          /* as the user knows it */
  const struct js *json; /* config.json */
  bool gguf;
};

/* The value at a path of keys with dots between them. */
static const struct js *at_path(const struct js *object, const char *path) {
  for (const char *dot; object && (dot = strchr(path, '.')); path = dot + 1)
    object = js_getn(object, slice_make(path, (size_t)(dot - path)));
  return js_get(object, path);
}

static struct found find(const struct config *c, const char *gguf_key, const char *hf_key) {
  struct found f = {0};
  if (c->file->container == FILE_GGUF) {
    if (!gguf_key) return f;
    snprintf(f.key, sizeof f.key, gguf_key, c->gguf_arch);
    f.gguf = true;
    f.present = gguf_find(c->file->gguf, f.key) != NULL;
  } else {
    if (!hf_key) return f;
    snprintf(f.key, sizeof f.key, "%s", hf_key);
    f.json = at_path(c->file->config, hf_key);
    f.present = f.json && js_type(f.json) != JS_NULL;
  }
  return f;
}

static int missing(const struct config *c, const char *gguf_key, const char *hf_key, struct error *err) {
  struct found f = find(c, gguf_key, hf_key);
  bool gguf = c->file->container == FILE_GGUF;
  return error_set(err, ERROR_CORRUPT, "%s: the key %s is missing from the model's %s.", c->file->path,
                   f.key[0] ? f.key : (gguf ? gguf_key : hf_key), gguf ? "metadata" : "config.json");
}

static bool as_u64(const struct config *c, const struct found *f, uint64_t *out) {
  if (f->gguf) return gguf_u64(c->file->gguf, f->key, out);
  int64_t value;
  if (!js_int(f->json, &value) || value < 0) return false;
  *out = (uint64_t)value;
  return true;
}

int config_size_or(const struct config *c, const char *gguf_key, const char *hf_key, size_t min, size_t max, size_t *out,
                   struct error *err) {
  struct found f = find(c, gguf_key, hf_key);
  if (!f.present) return 0;
  uint64_t value;
  if (!as_u64(c, &f, &value))
    return error_set(err, ERROR_UNSUPPORTED, "%s: the value of %s is not a whole number; Plinth needs one here.", c->file->path, f.key);
  if (value < min || value > max)
    return error_set(err, ERROR_UNSUPPORTED, "%s: %s is %llu, but must be between %zu and %zu.", c->file->path, f.key,
                     (unsigned long long)value, min, max);
  *out = (size_t)value;
  return 0;
}

int config_size(const struct config *c, const char *gguf_key, const char *hf_key, size_t min, size_t max, size_t *out, struct error *err) {
  if (!find(c, gguf_key, hf_key).present) return missing(c, gguf_key, hf_key, err);
  return config_size_or(c, gguf_key, hf_key, min, max, out, err);
}

int config_real_or(const struct config *c, const char *gguf_key, const char *hf_key, double *out, struct error *err) {
  struct found f = find(c, gguf_key, hf_key);
  if (!f.present) return 0;
  double value;
  bool ok = f.gguf ? gguf_f64(c->file->gguf, f.key, &value) : js_real(f.json, &value);
  if (!ok || !isfinite(value)) return error_set(err, ERROR_UNSUPPORTED, "%s: the value of %s is not a number.", c->file->path, f.key);
  *out = value;
  return 0;
}

int config_epsilon(const struct config *c, const char *gguf_key, const char *hf_key, double *out, struct error *err) {
  double value = *out;
  if (c->file->container == FILE_GGUF && !find(c, gguf_key, hf_key).present) return missing(c, gguf_key, hf_key, err);
  if (config_real_or(c, gguf_key, hf_key, &value, err) < 0) return -1;
  if (!(value > 0 && value < 1))
    return error_set(err, ERROR_UNSUPPORTED, "%s: %s is %g, but must be between 0 and 1.", c->file->path, find(c, gguf_key, hf_key).key,
                     value);
  *out = value;
  return 0;
}

int config_bool_or(const struct config *c, const char *gguf_key, const char *hf_key, bool *out, struct error *err) {
  struct found f = find(c, gguf_key, hf_key);
  if (!f.present) return 0;
  bool ok = f.gguf ? gguf_bool(c->file->gguf, f.key, out) : js_bool(f.json, out);
  if (!ok) return error_set(err, ERROR_UNSUPPORTED, "%s: the value of %s is neither true nor false.", c->file->path, f.key);
  return 0;
}

struct slice config_str(const struct config *c, const char *gguf_key, const char *hf_key) {
  struct found f = find(c, gguf_key, hf_key);
  struct slice text = {0};
  if (!f.present) return text;
  bool is_text = f.gguf ? gguf_str(c->file->gguf, f.key, &text) : js_str(f.json, &text);
  return is_text ? text : SLICE("(no text)");
}

bool config_is_type(const struct config *c, const char *model_type) {
  return slice_eq(config_str(c, NULL, "model_type"), slice_cstr(model_type));
}

int config_check_vocab(const struct config *c, size_t rows, struct error *err) {
  size_t vocab = rows;
  if (config_size_or(c, NULL, "vocab_size", 1, 1 << 28, &vocab, err) < 0) return -1;
  if (vocab == rows) return 0;
  return error_set(err, ERROR_CORRUPT, "%s: vocab_size is %zu, but the embedding has %zu rows.", c->file->path, vocab, rows);
}

int config_check_class(const struct config *c, const char *end, struct error *err) {
  struct slice name, want = slice_cstr(end);
  if (c->file->container == FILE_GGUF || !js_str(js_at(js_get(c->file->config, "architectures"), 0), &name)) return 0;
  if (name.len >= want.len && slice_eq(slice_from(name, name.len - want.len), want)) return 0;
  return error_set(err, ERROR_UNSUPPORTED,
                   "%s: architectures = [\"%.*s\"] is not supported; of this model_type Plinth runs what ends with %s.", c->file->path,
                   SLICE_ARG(name), end);
}
