/* adapter_share: which tensors of an adapter belong to which product of the base; see adapter.h. SPDX-License-Identifier: Apache-2.0
 *
 * Experts come in two spellings. transformers 4 had a module for each: experts.E.w1.lora_A. transformers 5 has one parameter for all, and
 * PEFT adapts it as such (target_parameters): A [E·r, in] holds the experts one below the other, column k·E + e of B [out, r·E] is column k
 * of expert e. Of two parameters of one module the later one has the module's name, the one before it the name plus ".base_layer". */
#include <math.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/js.h"
#include "base/mem.h"
#include "model/adapter.h"
#include "model/arch.h"

enum { RANK_MAX = 1024 };

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

/* Whether a key of alpha_pattern names the module: it is the module's name or its last parts; PEFT itself writes ".*\\.NAME". */
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
    strip(&key, ".*\\.");
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

static int scale_of(const struct file_adapter *f, struct slice module, uint64_t rank, float *scale, struct error *err) {
  bool rs = false;
  double alpha = 0;
  js_bool(js_get(f->config, "use_rslora"), &rs);
  if (read_alpha(f, module, &alpha, err) < 0) return -1;
  *scale = (float)(alpha / (rs ? sqrt((double)rank) : (double)rank));
  return 0;
}

/* ---- tensors ---- */

/* Whether the text is the pattern with numbers in its holes; they go to numbers. */
static bool match_one(struct slice text, const char *pattern, size_t pattern_len, size_t *numbers) {
  struct slice rest = slice_make(pattern, pattern_len);
  while (rest.len) {
    const char *hole = memmem(rest.data, rest.len, "%zu", 3);
    size_t plain = hole ? (size_t)(hole - rest.data) : rest.len;
    if (!slice_starts(text, slice_make(rest.data, plain))) return false;
    text = slice_from(text, plain);
    rest = slice_from(rest, plain + (hole ? 3 : 0));
    if (!hole) break;
    size_t n = 0, digits = 0;
    for (; digits < text.len && digits < 6 && text.data[digits] >= '0' && text.data[digits] <= '9'; digits++)
      n = n * 10 + (size_t)(text.data[digits] - '0');
    if (!digits) return false;
    text = slice_from(text, digits);
    *numbers++ = n;
  }
  return text.len == 0;
}

/* One of the patterns between bars. */
static bool match(struct slice text, const char *patterns, size_t *numbers) {
  for (const char *p = patterns; p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL)
    if (match_one(text, p, strcspn(p, "|"), numbers)) return true;
  return false;
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

/* ---- places ---- */

static const struct adapter_place NOWHERE = {.slot = SIZE_MAX};

size_t adapter__slots(const struct model_arch *arch, const struct model_info *info) {
  return arch->n_sites + (arch->experts ? 3 * info->n_experts : 0);
}

struct adapter_place adapter__find(const struct model_arch *arch, const struct model_info *info, struct slice module) {
  size_t at[2];
  module = adapter__below(module);
  for (size_t i = 0; i < arch->n_sites; i++)
    if (match(module, arch->sites[i], at) && at[0] < info->n_layers) return (struct adapter_place){at[0], i};
  for (size_t i = 0; arch->experts && i < 3; i++)
    if (match(module, arch->experts->one[i], at) && at[0] < info->n_layers && at[1] < info->n_experts)
      return (struct adapter_place){at[0], arch->n_sites + 3 * at[1] + i};
  return NOWHERE;
}

int adapter__find_stack(const struct model_arch *arch, const struct model_info *info, struct slice name, size_t *ret_layer) {
  for (int i = 0; arch->experts && i < 2; i++) {
    struct slice module = adapter__below(name);
    if (strip_end(&module, arch->experts->parameters[i]) && strip_end(&module, ".") && match(module, arch->experts->stack, ret_layer) &&
        *ret_layer < info->n_layers)
      return i;
  }
  return -1;
}

/* Whether target_parameters names this parameter: by its whole name or its last parts. */
static bool is_target(const struct file_adapter *f, struct slice module, const char *parameter) {
  const struct js *list = js_get(f->config, "target_parameters");
  struct buf name = {0};
  struct slice key;
  bool found = false;
  buf_printf(&name, "%.*s.%s", SLICE_ARG(module), parameter);
  for (size_t i = 0; i < js_len(list) && !found; i++) found = js_str(js_at(list, i), &key) && names_module(key, buf_view(&name));
  buf_free(&name);
  return found;
}

/* Of a tensor for all experts: which parameter it is for (0: gate and up, 1: down); -1: none. */
static int find_parameter(const struct adapter_table *t, const struct file_adapter *f, struct slice module, size_t *ret_layer) {
  int targets[2], n = 0, depth = 0;
  if (!t->arch->experts) return -1;
  while (strip_end(&module, ".base_layer")) depth++;
  if (!match(adapter__below(module), t->arch->experts->stack, ret_layer) || *ret_layer >= t->info->n_layers) return -1;
  for (int i = 0; i < 2; i++)
    if (is_target(f, module, t->arch->experts->parameters[i])) targets[n++] = i;
  return depth < n ? targets[n - 1 - depth] : -1;
}

/* ---- the table ---- */

static int set_half(struct adapter_share *s, const struct file_adapter *f, const struct file_tensor *t, bool is_b, struct error *err) {
  const struct file_tensor **to = is_b ? &s->b : &s->a;
  if (*to)
    return error_set(err, ERROR_CORRUPT, "%s: the tensors %.*s and %.*s are for the same product.", f->path, SLICE_ARG((*to)->name),
                     SLICE_ARG(t->name));
  *to = t;
  return 0;
}

static int set_stacked(struct adapter_table *t, const struct file_adapter *f, const struct file_tensor *tensor, bool is_b, size_t layer,
                       int parameter, struct error *err) {
  size_t E = t->info->n_experts, F = t->info->n_ff, first = parameter == 0 ? 0 : 2, n = parameter == 0 ? 2 : 1;
  for (size_t e = 0; e < E; e++)
    for (size_t i = first; i < first + n; i++) {
      struct adapter_share *s = &t->shares[layer * t->n_slots + t->arch->n_sites + 3 * e + i];
      s->parameter = t->arch->experts->parameters[parameter];
      s->n_stacked = E;
      s->expert = e;
      s->b_row = i * F % (2 * F); /* up lies below gate */
      s->b_rows = parameter == 0 ? 2 * F : t->info->n_embd;
      if (set_half(s, f, tensor, is_b, err) < 0) return -1;
    }
  return 0;
}

static int place(struct adapter_table *t, const struct file_adapter *f, const struct file_tensor *tensor, struct error *err) {
  struct slice module;
  bool is_b;
  size_t layer;
  if (adapter__split(tensor->name, &module, &is_b)) {
    struct adapter_place at = adapter__find(t->arch, t->info, module);
    if (at.slot != NOWHERE.slot) return set_half(&t->shares[at.layer * t->n_slots + at.slot], f, tensor, is_b, err);
    int parameter = find_parameter(t, f, module, &layer);
    if (parameter >= 0) return set_stacked(t, f, tensor, is_b, layer, parameter, err);
  }
  return error_set(err, ERROR_UNSUPPORTED, "%s: the tensor %.*s belongs to no product of this %s model that an adapter may change.",
                   f->path, SLICE_ARG(tensor->name), t->info->architecture);
}

int adapter__table(struct adapter_table *t, const struct file_adapter *f, const struct model_arch *arch, const struct model_info *info,
                   struct error *err) {
  *t = (struct adapter_table){.arch = arch, .info = info, .n_slots = adapter__slots(arch, info)};
  t->shares = mem_zalloc(info->n_layers * t->n_slots + 1, sizeof *t->shares);
  size_t n = safetensors_n_tensors(f->tensors);
  for (size_t i = 0; i < n; i++)
    if (place(t, f, safetensors_tensor_at(f->tensors, i), err) < 0) return -1;
  if (n) return 0;
  return error_set(err, ERROR_CORRUPT, "%s: the adapter holds no tensors.", f->path);
}

void adapter__table_free(struct adapter_table *t) { free(t->shares); }

/* ---- the two matrices of a share ---- */

int adapter__check_share(const struct file_adapter *f, const struct adapter_share *s, size_t n_out, size_t n_in, size_t *ret_rank,
                         struct error *err) {
  const struct file_tensor *a = s->a, *b = s->b;
  size_t E = s->n_stacked ? s->n_stacked : 1, b_rows = s->n_stacked ? s->b_rows : n_out;
  if (!a || !b)
    return error_set(err, ERROR_CORRUPT, "%s: the tensor %.*s lacks its other half.", f->path, SLICE_ARG(a ? a->name : b->name));
  if (a->rank != 2 || b->rank != 2 || a->shape[1] != n_in || b->shape[0] != b_rows || a->shape[0] != b->shape[1] || a->shape[0] % E)
    return error_set(err, ERROR_INVALID,
                     "%s: %.*s and its other half do not fit a product of %zu by %zu: this adapter is for another base model.", f->path,
                     SLICE_ARG(a->name), n_out, n_in);
  if (a->shape[0] / E < 1 || a->shape[0] / E > RANK_MAX)
    return error_set(err, ERROR_UNSUPPORTED, "%s: %.*s has the rank %llu; Plinth takes 1 to %d.", f->path, SLICE_ARG(a->name),
                     (unsigned long long)(a->shape[0] / E), RANK_MAX);
  *ret_rank = (size_t)a->shape[0] / E;
  return 0;
}

/* n rows of a matrix as fp32 in new memory. */
static float *rows_of(const struct file_adapter *f, const struct file_tensor *t, size_t begin, size_t n, struct error *err) {
  size_t columns = (size_t)t->shape[1];
  const struct dtype_info *type = dtype_info(t->dtype);
  float *out = malloc(n * columns * sizeof *out + 1);
  if (!out) {
    error_set(err, ERROR_NO_MEMORY, "%s: there is no memory for the tensor %.*s.", f->path, SLICE_ARG(t->name));
  } else if (type->block_elements != 1 ||
             !dtype_to_f32(t->dtype, (const char *)t->data + begin * columns * type->block_bytes, out, n * columns)) {
    error_set(err, ERROR_UNSUPPORTED, "%s: the tensor %.*s has the type %s, which cannot be converted.", f->path, SLICE_ARG(t->name),
              type->name);
    free(out);
    out = NULL;
  }
  return out;
}

static int scale_of_share(const struct file_adapter *f, const struct adapter_share *s, size_t rank, float *scale, struct error *err) {
  struct slice module;
  bool is_b;
  struct buf name = {0};
  adapter__split(s->a->name, &module, &is_b);
  while (s->parameter && strip_end(&module, ".base_layer")) continue;
  buf_add_slice(&name, module);
  if (s->parameter) buf_printf(&name, ".%s", s->parameter);
  int result = scale_of(f, buf_view(&name), rank, scale, err);
  buf_free(&name);
  return result;
}

float *adapter__a(const struct file_adapter *f, const struct adapter_share *s, size_t rank, struct error *err) {
  float scale;
  if (scale_of_share(f, s, rank, &scale, err) < 0) return NULL;
  float *a = rows_of(f, s->a, s->expert * rank, rank, err);
  for (size_t i = 0; a && i < rank * s->a->shape[1]; i++) a[i] *= scale;
  return a;
}

float *adapter__b(const struct file_adapter *f, const struct adapter_share *s, size_t rank, size_t n_out, struct error *err) {
  float *rows = rows_of(f, s->b, s->b_row, n_out, err);
  if (!rows || !s->n_stacked) return rows;
  float *b = malloc(n_out * rank * sizeof *b + 1);
  if (!b) error_set(err, ERROR_NO_MEMORY, "%s: there is no memory for the tensor %.*s.", f->path, SLICE_ARG(s->b->name));
  for (size_t o = 0; b && o < n_out; o++)
    for (size_t k = 0; k < rank; k++) b[o * rank + k] = rows[(o * rank + k) * s->n_stacked + s->expert];
  free(rows);
  return b;
}
