/* adapter: LoRA adapters on a loaded model; see model.h. SPDX-License-Identifier: Apache-2.0
 *
 *   y = x Wᵀ + s · (x Aᵀ) Bᵀ        A [r, n_in], B [n_out, r], s = α/r, or α/√r with use_rslora      (Hu et al. 2021, arXiv:2106.09685)
 *
 * The base's weights stay as they are and are shared; rows of one batch may go through different adapters, or none. Both products are in
 * fp32 whatever the compute mode, and s is multiplied into A once, so a row's bits depend on its own adapter alone. */
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/js.h"
#include "base/mem.h"
#include "model/adapter.h"
#include "model/arch.h"

enum { RANK_MAX = 1024 };

/* What one product gets; both NULL where the adapter has nothing. */
struct pair {
  const struct file_tensor *from_a, *from_b; /* while loading */
  struct weight *a, *b;
};

struct adapter {
  const struct model *model; /* borrowed */
  struct pair *pairs;        /* [n_layers · n_sites] */
  size_t n_pairs, rank_max, bytes;
  /* of one application, rows_max rows each */
  struct act *act;
  float *t;      /* [T, rank_max] */
  int32_t *rows; /* [T] */
};

/* ---- adapter_config.json ---- */

/* These ways to begin take something away from the base's weights, which the base that is served still has. */
static bool changes_base(struct slice init) {
  static const char *const names[] = {"pissa", "olora", "corda", "loftq", "lora_ga"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    if (slice_starts(init, slice_cstr(names[i]))) return true;
  return false;
}

int adapter__check(const struct file_adapter *f, struct error *err) {
  static const char *const keys[] = {"use_dora",
                                     "modules_to_save",
                                     "lora_bias",
                                     "layer_replication",
                                     "target_parameters",
                                     "use_qalora",
                                     "trainable_token_indices",
                                     "alora_invocation_tokens",
                                     "arrow_config",
                                     "use_bdlora",
                                     "kasa_config"};
  for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
    const struct js *v = js_get(f->config, keys[i]);
    enum js_type type = js_type(v);
    bool off = type == JS_NONE || type == JS_NULL || type == JS_FALSE || ((type == JS_ARRAY || type == JS_OBJECT) && js_len(v) == 0);
    if (!off)
      return error_set(err, ERROR_UNSUPPORTED, "%s: %s is set in adapter_config.json; Plinth does plain LoRA only.", f->path, keys[i]);
  }
  struct slice text = SLICE("LORA");
  js_str(js_get(f->config, "peft_type"), &text);
  if (!slice_eq(text, SLICE("LORA")))
    return error_set(err, ERROR_UNSUPPORTED, "%s: peft_type is \"%.*s\"; Plinth takes \"LORA\" only.", f->path, SLICE_ARG(text));
  text = SLICE("none");
  js_str(js_get(f->config, "bias"), &text);
  if (!slice_eq(text, SLICE("none")))
    return error_set(err, ERROR_UNSUPPORTED, "%s: bias is \"%.*s\"; adapters that change biases are not supported.", f->path,
                     SLICE_ARG(text));
  if (js_str(js_get(f->config, "init_lora_weights"), &text) && changes_base(text))
    return error_set(err, ERROR_UNSUPPORTED,
                     "%s: init_lora_weights is \"%.*s\", which changed the base model. Save the adapter with "
                     "path_initial_model_for_weight_conversion, so that it fits the original base.",
                     f->path, SLICE_ARG(text));
  return 0;
}

/* Whether a key of alpha_pattern names the module: it is the module's name or its last parts. */
static bool names_module(struct slice key, struct slice module) {
  if (!slice_ends(module, key)) return false;
  return key.len == module.len || module.data[module.len - key.len - 1] == '.';
}

/* As PEFT reads it: the first key of alpha_pattern that names the module, else lora_alpha. */
static int read_alpha(const struct file_adapter *f, struct slice module, double *alpha, struct error *err) {
  const struct js *pattern = js_get(f->config, "alpha_pattern");
  bool found = js_real(js_get(f->config, "lora_alpha"), alpha), named = false;
  for (void *it = js_type(pattern) == JS_OBJECT ? js_iter(pattern) : NULL; it && !named; it = js_iter_next(pattern, it)) {
    struct slice key;
    const struct js *value;
    js_iter_get(it, &key, &value);
    for (size_t i = 0; i < key.len; i++)
      if (strchr("\\^$*+?()[]{}|", key.data[i]))
        return error_set(err, ERROR_UNSUPPORTED, "%s: the key \"%.*s\" of alpha_pattern is an expression; Plinth takes module names.",
                         f->path, SLICE_ARG(key));
    named = names_module(key, module);
    if (named) found = js_real(value, alpha);
  }
  if (found && isfinite(*alpha)) return 0;
  return error_set(err, ERROR_CORRUPT, "%s: adapter_config.json has no number lora_alpha.", f->path);
}

int adapter__scale(const struct file_adapter *f, struct slice module, uint64_t rank, float *scale, struct error *err) {
  bool rs = false;
  double alpha = 0;
  js_bool(js_get(f->config, "use_rslora"), &rs);
  if (read_alpha(f, module, &alpha, err) < 0) return -1;
  *scale = (float)(alpha / (rs ? sqrt((double)rank) : (double)rank));
  return 0;
}

/* ---- tensors ---- */

static bool strip(struct slice *s, const char *prefix) {
  if (!slice_starts(*s, slice_cstr(prefix))) return false;
  *s = slice_from(*s, strlen(prefix));
  return true;
}

static bool strip_end(struct slice *s, const char *end) {
  if (!slice_ends(*s, slice_cstr(end))) return false;
  s->len -= strlen(end);
  return true;
}

/* Whether the module is the pattern with a layer in its hole. */
static bool match(struct slice module, const char *pattern, size_t *layer) {
  const char *hole = strstr(pattern, "%zu");
  if (!slice_starts(module, slice_make(pattern, (size_t)(hole - pattern)))) return false;
  struct slice rest = slice_from(module, (size_t)(hole - pattern));
  size_t n = 0, digits = 0;
  for (; digits < rest.len && digits < 6 && rest.data[digits] >= '0' && rest.data[digits] <= '9'; digits++)
    n = n * 10 + (size_t)(rest.data[digits] - '0');
  *layer = n;
  return digits > 0 && slice_eq(slice_from(rest, digits), slice_cstr(hole + 3));
}

bool adapter__split(struct slice name, struct slice *module, bool *is_b) {
  *module = name;
  strip(module, "base_model.model.");
  *is_b = strip_end(module, ".lora_B.weight") || strip_end(module, ".lora_B.default.weight");
  return *is_b || strip_end(module, ".lora_A.weight") || strip_end(module, ".lora_A.default.weight");
}

struct slice adapter__below(struct slice module) {
  if (!strip(&module, "model.")) strip(&module, "transformer.");
  return module;
}

static struct pair *find_pair(struct adapter *a, struct slice module) {
  const struct model_arch *arch = a->model->arch;
  size_t layer;
  module = adapter__below(module);
  for (size_t i = 0; i < arch->n_sites; i++)
    if (match(module, arch->sites[i], &layer) && layer < a->model->info.n_layers) return &a->pairs[layer * arch->n_sites + i];
  return NULL;
}

static int place(struct adapter *a, const struct file_adapter *f, const struct file_tensor *t, struct error *err) {
  struct slice module;
  bool is_b;
  struct pair *p = adapter__split(t->name, &module, &is_b) ? find_pair(a, module) : NULL;
  if (!p)
    return error_set(err, ERROR_UNSUPPORTED, "%s: the tensor %.*s belongs to no product of this %s model that an adapter may change.",
                     f->path, SLICE_ARG(t->name), a->model->info.architecture);
  const struct file_tensor **to = is_b ? &p->from_b : &p->from_a;
  if (*to)
    return error_set(err, ERROR_CORRUPT, "%s: the tensors %.*s and %.*s are for the same product.", f->path, SLICE_ARG((*to)->name),
                     SLICE_ARG(t->name));
  *to = t;
  return 0;
}

static int check_shapes(const struct file_adapter *f, const struct pair *p, size_t n_out, size_t n_in, struct error *err) {
  const struct file_tensor *a = p->from_a, *b = p->from_b;
  if (!a || !b)
    return error_set(err, ERROR_CORRUPT, "%s: the tensor %.*s lacks its other half.", f->path, SLICE_ARG(a ? a->name : b->name));
  if (a->rank != 2 || b->rank != 2 || a->shape[1] != n_in || b->shape[0] != n_out || a->shape[0] != b->shape[1])
    return error_set(err, ERROR_INVALID,
                     "%s: %.*s and its other half do not fit a product of %zu by %zu: this adapter is for another base model.", f->path,
                     SLICE_ARG(a->name), n_out, n_in);
  if (a->shape[0] < 1 || a->shape[0] > RANK_MAX)
    return error_set(err, ERROR_UNSUPPORTED, "%s: %.*s has the rank %llu; Plinth takes 1 to %d.", f->path, SLICE_ARG(a->name),
                     (unsigned long long)a->shape[0], RANK_MAX);
  return 0;
}

static struct weight *pack_scaled(struct compute *c, const struct file_adapter *f, const struct file_tensor *t, float scale,
                                  struct error *err) {
  size_t n = (size_t)t->n_elements;
  float *plain = malloc(n * sizeof *plain);
  struct weight *w = NULL;
  if (!plain) error_set(err, ERROR_NO_MEMORY, "There is no memory for %zu values.", n);
  else if (!dtype_to_f32(t->dtype, t->data, plain, n))
    error_set(err, ERROR_UNSUPPORTED, "The type %s cannot be converted.", dtype_info(t->dtype)->name);
  else {
    for (size_t i = 0; i < n; i++) plain[i] *= scale;
    w = weight_pack(c, &(struct weight_source){.dtype = DTYPE_F32, .data = plain, .n_out = t->shape[0], .n_in = t->shape[1]}, err);
  }
  free(plain);
  if (!w) error_prefix(err, "%s, tensor %.*s", f->path, SLICE_ARG(t->name));
  return w;
}

static int load_pair(struct adapter *a, const struct file_adapter *f, struct pair *p, const struct weight *base, struct error *err) {
  struct slice module;
  bool is_b;
  float scale;
  if (!p->from_a && !p->from_b) return 0;
  if (!base)
    return error_set(err, ERROR_UNSUPPORTED, "%s: the tensor %.*s belongs to a product that this model does not have.", f->path,
                     SLICE_ARG((p->from_a ? p->from_a : p->from_b)->name));
  if (check_shapes(f, p, weight_n_out(base), weight_n_in(base), err) < 0) return -1;
  adapter__split(p->from_a->name, &module, &is_b);
  if (adapter__scale(f, module, p->from_a->shape[0], &scale, err) < 0) return -1;
  p->a = pack_scaled(a->model->compute, f, p->from_a, scale, err);
  p->b = p->a ? pack_scaled(a->model->compute, f, p->from_b, 1.0f, err) : NULL;
  if (!p->b) return -1;
  a->bytes += weight_bytes(p->a) + weight_bytes(p->b);
  if (a->rank_max < p->from_a->shape[0]) a->rank_max = p->from_a->shape[0];
  return 0;
}

static int load_pairs(struct adapter *a, const struct file_adapter *f, struct error *err) {
  const struct model_arch *arch = a->model->arch;
  size_t n_tensors = safetensors_n_tensors(f->tensors);
  for (size_t i = 0; i < n_tensors; i++)
    if (place(a, f, safetensors_tensor_at(f->tensors, i), err) < 0) return -1;
  for (size_t i = 0; i < a->n_pairs; i++)
    if (load_pair(a, f, &a->pairs[i], arch->site_weight(a->model, i % arch->n_sites, i / arch->n_sites), err) < 0) return -1;
  if (a->rank_max) return 0;
  return error_set(err, ERROR_CORRUPT, "%s: the adapter holds no tensors.", f->path);
}

struct adapter *adapter_load(const struct file_adapter *file, const struct model *m, struct error *err) {
  if (m->arch->n_sites == 0) {
    error_set(err, ERROR_UNSUPPORTED, "%s: adapters on %s models are not supported.", file->path, m->info.architecture);
    return NULL;
  }
  struct adapter *a = mem_zalloc(1, sizeof *a);
  a->model = m;
  a->n_pairs = m->info.n_layers * m->arch->n_sites;
  a->pairs = mem_zalloc(a->n_pairs, sizeof *a->pairs);
  if (adapter__check(file, err) < 0 || load_pairs(a, file, err) < 0) goto fail;
  a->act = act_create(m->compute, m->rows_max, a->rank_max, err);
  if (!a->act) goto fail;
  a->t = mem_aligned(64, m->rows_max * a->rank_max * sizeof *a->t + 64);
  a->rows = mem_alloc(m->rows_max * sizeof *a->rows);
  return a;
fail:
  adapter_free(a);
  return NULL;
}

void adapter_free(struct adapter *a) {
  if (!a) return;
  for (size_t i = 0; i < a->n_pairs; i++) {
    weight_free(a->pairs[i].a);
    weight_free(a->pairs[i].b);
  }
  act_free(a->act);
  void *memory[] = {a->pairs, a->t, a->rows};
  for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) free(memory[i]);
  free(a);
}

size_t adapter_weight_bytes(const struct adapter *a) { return a->bytes; }

/* ---- applying ---- */

unsigned adapter_forms(const struct model_batch *b) { return b->adapters ? ACT_F32 : 0; }

/* Rows begin … begin + n − 1 of act and y. */
static void add_rows(struct adapter *a, const struct pair *p, const struct act *act, size_t begin, size_t n, float *y, size_t ldy) {
  struct compute *c = a->model->compute;
  size_t rank = weight_n_out(p->a);
  for (size_t i = 0; i < n; i++) a->rows[i] = (int32_t)(begin + i);
  op_linear(c, act, &(struct linear){.w = p->a, .y = a->t, .ldy = rank}, 1, a->rows, n);
  op_prepare(c, a->act, weight_act_form(p->b), a->t, rank, n, rank);
  op_linear(c, a->act, &(struct linear){.w = p->b, .y = y + begin * ldy, .ldy = ldy, .add = true}, 1, NULL, n);
}

void adapter_add(const struct model_batch *b, const struct act *act, size_t site, size_t layer, float *y, size_t ldy) {
  if (!b->adapters) return;
  for (size_t i = 0, next; i < b->n_segments; i = next) {
    struct adapter *a = b->adapters[i];
    for (next = i + 1; next < b->n_segments && b->adapters[next] == a;) next++;
    if (!a) continue;
    const struct pair *p = &a->pairs[layer * a->model->arch->n_sites + site];
    const struct kv_segment *last = &b->segments[next - 1];
    size_t begin = b->segments[i].row_begin;
    if (p->a) add_rows(a, p, act, begin, last->row_begin + last->n_rows - begin, y, ldy);
  }
}
