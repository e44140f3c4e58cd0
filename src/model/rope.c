/* rope: rotary frequencies and their scaling rules; see arch.h. SPDX-License-Identifier: Apache-2.0
 * Sources: RoFormer (arXiv:2104.09864); the rules of Hugging Face transformers, which computes in fp32 and so do we. */
#include <math.h>
#include <stdlib.h>

#include "base/js.h"
#include "base/mem.h"
#include "model/arch.h"

static const double PI = 3.14159265358979323846;

/* Rule "llama3": long wavelengths are stretched by factor, short ones kept, those between interpolated. */
struct llama3_rule {
  double factor, low_freq_factor, high_freq_factor, original_context;
};

static float llama3_scale(const struct llama3_rule *r, float inv) {
  double wavelength = 2 * PI / inv;
  if (wavelength < r->original_context / r->high_freq_factor) return inv;
  if (wavelength > r->original_context / r->low_freq_factor) return (float)(inv / r->factor);
  double smooth = (r->original_context / wavelength - r->low_freq_factor) / (r->high_freq_factor - r->low_freq_factor);
  return (float)((1 - smooth) * inv / r->factor + smooth * inv);
}

static int member(const struct config *c, const struct js *rule, const char *key, double *out, struct error *err) {
  if (js_real(js_get(rule, key), out) && isfinite(*out) && *out > 0) return 0;
  return error_set(err, ERROR_UNSUPPORTED, "%s: the rope scaling rule needs a positive number under %s.", c->file->path, key);
}

static int scale_llama3(const struct config *c, const struct js *rule, float *inv, size_t half, struct error *err) {
  struct llama3_rule r;
  if (member(c, rule, "factor", &r.factor, err) < 0 || member(c, rule, "low_freq_factor", &r.low_freq_factor, err) < 0 ||
      member(c, rule, "high_freq_factor", &r.high_freq_factor, err) < 0 ||
      member(c, rule, "original_max_position_embeddings", &r.original_context, err) < 0)
    return -1;
  if (r.high_freq_factor <= r.low_freq_factor)
    return error_set(err, ERROR_UNSUPPORTED, "%s: high_freq_factor must be greater than low_freq_factor.", c->file->path);
  for (size_t i = 0; i < half; i++) inv[i] = llama3_scale(&r, inv[i]);
  return 0;
}

/* The rule of GTE, at every length: the base times the factor s, all frequencies divided by s^(2/d). */
static int scale_ntk(const struct config *c, const struct js *rule, float *inv, size_t half, struct error *err) {
  double s, d = (double)(2 * half);
  enum js_type mixed = js_type(js_get(rule, "mixed_b"));
  if (mixed != JS_NONE && mixed != JS_NULL)
    return error_set(err, ERROR_UNSUPPORTED, "%s: rope_scaling.mixed_b is not supported.", c->file->path);
  if (member(c, rule, "factor", &s, err) < 0) return -1;
  for (size_t i = 0; i < half; i++) inv[i] = (float)((double)inv[i] * pow(s, -(double)(2 * i) / d) / pow(s, 2 / d));
  return 0;
}

/* "default" where there is none. One rule for all layers: an object within is one of several. */
static int rule_type(const struct config *c, const char *key, const struct js *rule, struct slice *type, struct error *err) {
  *type = SLICE("default");
  const struct js *said = js_get(rule, "rope_type");
  if (js_type(said) == JS_NONE || js_type(said) == JS_NULL) said = js_get(rule, "type");
  if (js_type(said) != JS_NONE && js_type(said) != JS_NULL && !js_str(said, type))
    return error_set(err, ERROR_UNSUPPORTED, "%s: the value of %s.rope_type is no text.", c->file->path, key);
  for (void *it = js_iter(rule); it; it = js_iter_next(rule, it)) {
    struct slice name;
    const struct js *value;
    js_iter_get(it, &name, &value);
    if (js_type(value) == JS_OBJECT)
      return error_set(err, ERROR_UNSUPPORTED, "%s: %s.%.*s is an object; rules that differ by layer are not supported.", c->file->path,
                       key, SLICE_ARG(name));
  }
  return 0;
}

/* config.json: rope_parameters (new) or rope_scaling, each an object with rope_type or type. */
static int scale_by_config(const struct config *c, float *inv, size_t half, struct error *err) {
  const char *key = "rope_parameters";
  const struct js *rule = js_get(c->file->config, key);
  if (!rule || js_type(rule) == JS_NULL) rule = js_get(c->file->config, key = "rope_scaling");
  if (!rule || js_type(rule) == JS_NULL) return 0;
  if (js_type(rule) != JS_OBJECT) return error_set(err, ERROR_UNSUPPORTED, "%s: the value of %s is no object.", c->file->path, key);
  struct slice type;
  if (rule_type(c, key, rule, &type, err) < 0) return -1;
  if (slice_eq(type, SLICE("default"))) return 0;
  if (slice_eq(type, SLICE("llama3"))) return scale_llama3(c, rule, inv, half, err);
  if (slice_eq(type, SLICE("linear"))) {
    double factor;
    if (member(c, rule, "factor", &factor, err) < 0) return -1;
    for (size_t i = 0; i < half; i++) inv[i] = inv[i] / (float)factor;
    return 0;
  }
  if (slice_eq(type, SLICE("ntk")) && c->rope_ntk) return scale_ntk(c, rule, inv, half, err);
  return error_set(err, ERROR_UNSUPPORTED, "%s: the rope scaling rule rope_type = \"%.*s\" is not supported.", c->file->path,
                   SLICE_ARG(type));
}

/* GGUF: a linear rule in metadata, or one divisor per frequency in a tensor. */
static int scale_by_gguf(const struct config *c, float *inv, size_t half, struct error *err) {
  struct slice type = config_str(c, "%s.rope.scaling.type", NULL);
  double factor = 1;
  if (config_real_or(c, "%s.rope.scale_linear", NULL, &factor, err) < 0) return -1;
  if (slice_eq(type, SLICE("linear")) && config_real_or(c, "%s.rope.scaling.factor", NULL, &factor, err) < 0) return -1;
  if (type.len && !slice_eq(type, SLICE("linear")) && !slice_eq(type, SLICE("none")))
    return error_set(err, ERROR_UNSUPPORTED, "%s: the rope scaling rule rope.scaling.type = \"%.*s\" is not supported.", c->file->path,
                     SLICE_ARG(type));
  if (factor <= 0) return error_set(err, ERROR_UNSUPPORTED, "%s: the rope scaling factor must be positive.", c->file->path);
  for (size_t i = 0; i < half; i++) inv[i] = inv[i] / (float)factor;
  const struct file_tensor *t = file_model_tensor(c->file, "rope_freqs.weight");
  if (!t) return 0;
  if (t->dtype != DTYPE_F32 || t->n_elements != half)
    return error_set(err, ERROR_CORRUPT, "%s: the tensor rope_freqs.weight must hold %zu F32 values.", c->file->path, half);
  float *divisor = mem_alloc(half * sizeof *divisor);
  dtype_to_f32(t->dtype, t->data, divisor, half);
  for (size_t i = 0; i < half; i++) inv[i] = inv[i] / divisor[i];
  free(divisor);
  return 0;
}

/* rope_parameters (new) or attn_config (DBRX) before the key of its own. Where both are given they must agree: newer tools write a default
 * into the former without reading the latter. */
int rope_read_theta(const struct config *c, double *theta, struct error *err) {
  *theta = config_is_type(c, "mixtral") ? 1e6 : config_is_type(c, "gte") ? 160000 : 10000; /* what transformers takes */
  double within = 0, own = 0;
  if (config_real_or(c, "%s.rope.freq_base", "rope_theta", theta, err) < 0 ||
      config_real_or(c, NULL, "attn_config.rope_theta", &own, err) < 0 ||
      config_real_or(c, NULL, "rope_parameters.rope_theta", &within, err) < 0)
    return -1;
  if (own != 0 && within != 0 && own != within)
    return error_set(
        err, ERROR_UNSUPPORTED,
        "%s: attn_config.rope_theta is %g, but rope_parameters.rope_theta is %g; correct the one that is wrong in config.json.",
        c->file->path, own, within);
  if (own != 0) *theta = own;
  if (within != 0) *theta = within;
  if (isfinite(*theta) && *theta > 0) return 0;
  return error_set(err, ERROR_UNSUPPORTED, "%s: the rope base (rope_theta) must be a positive number.", c->file->path);
}

/* All of a head is rotated here. */
static int refuse_partial(const struct config *c, struct error *err) {
  double part = 1;
  if (config_real_or(c, NULL, "partial_rotary_factor", &part, err) < 0) return -1;
  if (part == 1 && config_real_or(c, NULL, "rope_parameters.partial_rotary_factor", &part, err) < 0) return -1;
  if (part == 1) return 0;
  return error_set(err, ERROR_UNSUPPORTED, "%s: partial_rotary_factor is %g, but only whole heads are rotated.", c->file->path, part);
}

float *rope_frequencies(const struct config *c, double theta, size_t head_dim, struct error *err) {
  if (refuse_partial(c, err) < 0) return NULL;
  size_t half = head_dim / 2;
  float *inv = mem_zalloc(half + 16, sizeof *inv);
  for (size_t i = 0; i < half; i++) {
    float exponent = (float)(2 * i) / (float)head_dim;
    inv[i] = 1.0f / (float)pow(theta, exponent);
  }
  int scaled = c->file->container == FILE_GGUF ? scale_by_gguf(c, inv, half, err) : scale_by_config(c, inv, half, err);
  if (scaled == 0) return inv;
  free(inv);
  return NULL;
}
