/* plan: see plan.h. SPDX-License-Identifier: Apache-2.0
 *
 * The tensors are those that `plinth quantize` would write, each with the type that it would get, weighed as the compute modes pack
 * them. Where only config.json is there, with or without the index, the shapes are those that the configuration demands.
 * Nodes: whole layers stay together, the embedding on the first node, norm and head on the last; a node is filled before the next. */
#include "app/plan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/about.h"
#include "app/target.h"
#include "base/fs.h"
#include "base/js.h"
#include "base/jsonw.h"
#include "base/mem.h"

enum { INDEX_BYTES_MAX = 64 << 20 };

/* ---- a model of which only the configuration is there ---- */

static enum dtype config_dtype(const struct js *config) {
  struct slice name = {0};
  if (!js_str(js_get(config, "dtype"), &name)) js_str(js_get(config, "torch_dtype"), &name);
  return slice_eq(name, SLICE("float32")) ? DTYPE_F32 : slice_eq(name, SLICE("float16")) ? DTYPE_F16 : DTYPE_BF16;
}

static struct file_tensor outlined(struct slice name, enum dtype dtype, uint64_t rows, uint64_t columns) {
  struct file_tensor t = {.name = name, .dtype = dtype, .rank = 2, .shape = {rows, columns}, .n_elements = rows * columns};
  dtype_bytes(dtype, t.n_elements, &t.n_bytes);
  return t;
}

/* Both must hold at once: names that the index lists, and the embedding, whose shape tells the vocabulary. */
static int outline(struct file_model *file, const struct js *index, struct error *err) {
  static const char *const embeddings[] = {"model.embed_tokens.weight", "transformer.wte.weight", "embeddings.word_embeddings.weight"};
  const struct js *config = file->config, *map = js_get(index, "weight_map");
  int64_t vocab = 0, width = 0;
  struct slice type = {0};
  js_str(js_get(config, "model_type"), &type);
  bool own = slice_eq(type, SLICE("new"));
  if (own || slice_eq(type, SLICE("gte"))) return plan_gte_outline(file, own, config_dtype(config), err);
  bool tied = false, known = js_int(js_get(config, "vocab_size"), &vocab) &&
                             (js_int(js_get(config, "hidden_size"), &width) || js_int(js_get(config, "d_model"), &width));
  if (!known || vocab < 1 || width < 1 || vocab > 1 << 28 || width > 1 << 20)
    return error_set(err, ERROR_CORRUPT, "%s: config.json must say vocab_size and hidden_size.", file->path);
  tied = slice_eq(type, SLICE("mpt")); /* where config.json is silent */
  js_bool(js_get(config, "tie_word_embeddings"), &tied);
  bool transformer = slice_eq(type, SLICE("dbrx")) || slice_eq(type, SLICE("mpt")), bert = slice_eq(type, SLICE("bert"));
  struct slice embedding = slice_cstr(embeddings[transformer ? 1 : bert ? 2 : 0]);
  struct file_tensor *all = mem_zalloc(js_len(map) + 2, sizeof *all);
  size_t n = 0;
  all[n++] = outlined(embedding, config_dtype(config), (uint64_t)vocab, (uint64_t)width);
  for (void *it = js_iter(map); it; it = js_iter_next(map, it)) {
    struct slice name;
    const struct js *where;
    js_iter_get(it, &name, &where);
    if (!slice_eq(name, embedding)) all[n++] = outlined(name, config_dtype(config), 0, 1);
  }
  if (!map && !tied && !bert) all[n++] = outlined(SLICE("lm_head.weight"), config_dtype(config), 0, 1);
  file->tensors = safetensors_outline(all, n, err);
  free(all);
  return file->tensors ? 0 : -1;
}

static struct file_model *open_outline(const char *path, struct error *err) {
  struct file_model *file = file_model_open_text(path, err);
  struct js *index = NULL;
  int result = !file          ? -1
               : file->config ? file_model_json(file, "model.safetensors.index.json", &index, err)
                              : error_set(err, ERROR_NOT_FOUND, "%s holds no config.json.", path);
  if (result == 0) result = outline(file, index, err);
  js_free(index);
  if (result == 0) return file;
  file_model_close(file);
  return NULL;
}

/* Weights that are there are looked at; else the configuration must do. */
static struct file_model *open_file(const char *path, bool *ret_outlined, struct error *err) {
  char *config = fs_join(path, "config.json");
  bool folder = fs_is_dir(path) && fs_exists(config);
  free(config);
  struct file_model *file = file_model_open(path, err);
  *ret_outlined = !file && folder;
  return *ret_outlined ? open_outline(path, err) : file;
}

/* ---- weighing ---- */

static uint64_t added(uint64_t a, uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }

static uint64_t times(uint64_t a, uint64_t b) {
  uint64_t product;
  return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

static uint64_t elements(const struct convert_tensor *t) {
  uint64_t n = 1;
  for (unsigned i = 0; i < t->rank; i++) n = times(n, t->shape[i]);
  return n;
}

/* In memory, stored as that type. */
static uint64_t weigh(const struct convert_tensor *t, enum compute_mode mode, enum dtype dtype) {
  if (strcmp(t->name, "rope_freqs.weight") == 0) return 0; /* it only scales the frequencies */
  bool router = strstr(t->name, "ffn_gate_inp") != NULL;
  if (t->rank < 2 || (target_stays_f32(t) && !router)) return times(elements(t), sizeof(float));
  uint64_t matrices = t->rank == 3 ? t->shape[0] : 1;
  if (router) mode = COMPUTE_F32, dtype = DTYPE_F32; /* whatever the mode */
  return times(matrices, weight_packed_bytes(mode, dtype, t->shape[t->rank - 2], t->shape[t->rank - 1]));
}

static bool is_float8(enum dtype dtype) { return dtype == DTYPE_F8_E4M3 || dtype == DTYPE_F8_E5M2; }

/* What the file stores it in; a tensor that is only outlined, what config.json says. Of a quantized checkpoint what it becomes when it is
 * loaded: floats with scales fp32; integers, as a bound, bytes with a scale for every 32. */
static enum dtype stored_type(const struct convert *c, const struct convert_tensor *t) {
  const struct file_tensor *from = t->n_sources ? checkpoint_witness(c->checkpoint, t->sources[0]) : NULL;
  if (!from) return config_dtype(c->file->config);
  if (!checkpoint_method(c->checkpoint) || from->dtype < DTYPE_I8) return from->dtype;
  return is_float8(from->dtype) ? DTYPE_F32 : DTYPE_Q8_F32;
}

/* Matrices of 8-bit floats, which take more in memory than in the file. */
static bool has_float8(const struct convert *c) {
  for (size_t i = 0; i < c->n_tensors; i++) {
    const struct convert_tensor *t = &c->tensors[i];
    const struct file_tensor *from = t->n_sources ? checkpoint_witness(c->checkpoint, t->sources[0]) : NULL;
    if (from && is_float8(from->dtype)) return true;
  }
  return false;
}

static enum dtype type_in(const struct convert *c, const struct convert_tensor *t, const struct target *target) {
  return target ? target_type(target, t) : stored_type(c, t);
}

/* The place of a tensor: 0 in front of the layers, 1 … n in a layer, n + 1 behind. */
static size_t place_of(const struct convert *c, const struct convert_tensor *t) {
  size_t n = 0;
  if (sscanf(t->name, "blk.%zu.", &n) == 1 && n < c->info.n_layers) return n + 1;
  return strncmp(t->name, "output", 6) == 0 ? c->info.n_layers + 1 : 0;
}

struct need {
  uint64_t fast, f32; /* weights */
  uint64_t nodes;     /* under fast, KV included; 0: a layer does not fit in one */
};

static uint64_t count_nodes(const uint64_t *places, size_t n_layers, uint64_t kv_layer, uint64_t node) {
  uint64_t nodes = 1, used = places[0];
  for (size_t i = 1; i <= n_layers + 1; i++) {
    uint64_t part = added(places[i], i <= n_layers ? kv_layer : 0);
    if (part > node || places[0] > node) return 0;
    if (added(used, part) > node) nodes++, used = 0;
    used = added(used, part);
  }
  return nodes;
}

static struct need need_of(const struct convert *c, const struct target *target, uint64_t kv, double memory_gib) {
  size_t n_layers = c->info.n_layers;
  uint64_t *places = mem_zalloc(n_layers + 2, sizeof *places);
  struct need need = {0};
  for (size_t i = 0; i < c->n_tensors; i++) {
    const struct convert_tensor *t = &c->tensors[i];
    enum dtype dtype = type_in(c, t, target);
    uint64_t bytes = weigh(t, COMPUTE_FAST, dtype);
    places[place_of(c, t)] = added(places[place_of(c, t)], bytes);
    need.fast = added(need.fast, bytes);
    need.f32 = added(need.f32, weigh(t, COMPUTE_F32, dtype));
  }
  if (memory_gib > 0) need.nodes = count_nodes(places, n_layers, (kv + n_layers - 1) / n_layers, (uint64_t)(memory_gib * 0x1p30));
  free(places);
  return need;
}

/* ---- telling ---- */

static const char *const planned[] = {"f16", "q8_0", "q6_k", "q5_k", "q4_k", "q4_0"};
enum { N_PLANNED = sizeof planned / sizeof planned[0] };

struct plan {
  const struct convert *c;
  const struct plan_options *o;
  uint64_t parameters, tokens, kv; /* kv: of tokens, in whole pages */
  bool stored;                     /* the type as stored is known */
};

static void add_row(struct buf *out, const struct plan *p, const char *name, const struct target *target) {
  struct need n = need_of(p->c, target, p->kv, p->o->memory_gib);
  struct buf cell = {0};
  buf_printf(out, "  %-10s", name);
  const uint64_t cells[] = {n.fast, added(n.fast, p->kv), n.f32};
  for (size_t i = 0; i < 3; i++) {
    buf_clear(&cell);
    about_add_bytes(&cell, cells[i]);
    buf_printf(out, "  %14s", cell.data);
  }
  if (p->o->memory_gib > 0 && n.nodes) buf_printf(out, "  %6llu", (unsigned long long)n.nodes);
  else if (p->o->memory_gib > 0) buf_add_cstr(out, "  a layer does not fit");
  buf_add_byte(out, '\n');
  buf_free(&cell);
}

static void add_text(struct buf *out, const struct plan *p) {
  const struct model_info *i = &p->c->info;
  buf_printf(out, "%s: %zu layers, ", i->architecture, i->n_layers);
  about_add_count(out, p->parameters);
  buf_add_cstr(out, " parameters");
  uint64_t per_token = model_kv_bytes_per_token(i, p->o->kv);
  if (per_token) {
    buf_add_cstr(out, "; KV ");
    about_add_bytes(out, 1000 * per_token);
    buf_add_cstr(out, " for 1,000 tokens, ");
    about_add_bytes(out, p->kv);
    buf_add_cstr(out, " for ");
    about_add_count(out, p->tokens);
  }
  buf_printf(out, "\n  %-10s  %14s  %14s  %14s", "type", "weights (fast)", "with KV", "weights (f32)");
  if (p->o->memory_gib > 0) buf_printf(out, "  nodes of %g GiB", p->o->memory_gib);
  buf_add_byte(out, '\n');
  if (p->stored) add_row(out, p, "as stored", NULL);
  for (size_t k = 0; k < N_PLANNED; k++) add_row(out, p, planned[k], target_find(planned[k]));
  if (has_float8(p->c))
    buf_add_cstr(out, "8-bit floats as stored take twice the room in memory under fast; plinth quantize writes one of the other types.\n");
}

static int64_t json_count(uint64_t n) { return n > INT64_MAX ? INT64_MAX : (int64_t)n; }

static void write_row(struct jsonw *w, const struct plan *p, const char *name, const struct target *target) {
  struct need n = need_of(p->c, target, p->kv, p->o->memory_gib);
  jsonw_object_begin(w);
  jsonw_key_cstr(w, "type", name);
  jsonw_key_int(w, "fast_bytes", json_count(n.fast));
  jsonw_key_int(w, "f32_bytes", json_count(n.f32));
  if (p->o->memory_gib > 0 && n.nodes) jsonw_key_int(w, "nodes", json_count(n.nodes));
  else if (p->o->memory_gib > 0) jsonw_key_null(w, "nodes");
  jsonw_object_end(w);
}

static void add_json(struct buf *out, const struct plan *p) {
  struct jsonw w = {.out = out};
  jsonw_object_begin(&w);
  jsonw_key_cstr(&w, "architecture", p->c->info.architecture);
  jsonw_key_int(&w, "layers", (int64_t)p->c->info.n_layers);
  jsonw_key_int(&w, "parameters", json_count(p->parameters));
  jsonw_key_cstr(&w, "kv", kv_type_name(p->o->kv));
  jsonw_key_int(&w, "kv_bytes_per_token", json_count(model_kv_bytes_per_token(&p->c->info, p->o->kv)));
  jsonw_key_int(&w, "kv_tokens", json_count(p->tokens));
  jsonw_key_int(&w, "kv_bytes", json_count(p->kv));
  if (p->o->memory_gib > 0) jsonw_key_real(&w, "memory_gib", p->o->memory_gib);
  jsonw_key(&w, "types");
  jsonw_array_begin(&w);
  if (p->stored) write_row(&w, p, "as stored", NULL);
  for (size_t k = 0; k < N_PLANNED; k++) write_row(&w, p, planned[k], target_find(planned[k]));
  jsonw_array_end(&w);
  jsonw_object_end(&w);
  buf_add_byte(out, '\n');
}

/* Of a sequence of so many tokens, in whole pages. */
static uint64_t kv_bytes(const struct model_info *i, enum kv_type kv, uint64_t tokens) {
  uint64_t held = model_kv_positions(i, 0, tokens);
  return times((held + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS * KV_PAGE_TOKENS, model_kv_bytes_per_token(i, kv));
}

/* A model that has no form in GGUF is told as it is stored, or as config.json says that it will be; why there are no other types is in `reason`. */
static void add_stored_only(struct buf *out, const struct model_info *i, uint64_t memory_bytes, const struct plan_options *o,
                            const struct error *reason) {
  uint64_t tokens = o->context_tokens ? o->context_tokens : i->context_tokens;
  uint64_t kv = kv_bytes(i, o->kv, tokens);
  if (o->json) {
    struct jsonw w = {.out = out};
    jsonw_object_begin(&w);
    jsonw_key_cstr(&w, "architecture", i->architecture);
    jsonw_key_int(&w, "layers", (int64_t)i->n_layers);
    jsonw_key_int(&w, "parameters", json_count(i->n_parameters));
    jsonw_key_cstr(&w, "kv", kv_type_name(o->kv));
    jsonw_key_int(&w, "kv_bytes_per_token", json_count(model_kv_bytes_per_token(i, o->kv)));
    jsonw_key_int(&w, "kv_tokens", json_count(tokens));
    jsonw_key_int(&w, "kv_bytes", json_count(kv));
    jsonw_key(&w, "types");
    jsonw_array_begin(&w);
    jsonw_object_begin(&w);
    jsonw_key_cstr(&w, "type", "as stored");
    jsonw_key_int(&w, "fast_bytes", json_count(memory_bytes));
    jsonw_object_end(&w);
    jsonw_array_end(&w);
    jsonw_object_end(&w);
    buf_add_byte(out, '\n');
    return;
  }
  buf_printf(out, "%s: %zu layers, ", i->architecture, i->n_layers);
  about_add_count(out, i->n_parameters);
  buf_add_cstr(out, " parameters\n  as stored, weights (fast)  ");
  about_add_bytes(out, memory_bytes);
  buf_add_cstr(out, "\n  as stored, with KV         ");
  about_add_bytes(out, added(memory_bytes, kv));
  buf_printf(out, "\nNothing is told about other types: %s\n", reason->message);
}

int plan_make(const char *path, const struct plan_options *o, struct buf *out, struct error *err) {
  bool outlined_only = false;
  struct file_model *file = open_file(path, &outlined_only, err);
  struct convert c = {0};
  struct model_info info;
  uint64_t bytes = 0;
  struct error reason = {0}, second;
  int result = file ? convert_open(&c, file, &reason) : -1;
  if (file && result < 0) {
    bool stored = model_inspect(file, &info, &second) == 0 && (!outlined_only || strcmp(info.architecture, "gte") == 0) &&
                  model_memory(file, &info, COMPUTE_FAST, &bytes, &second) == 0 && bytes != UINT64_MAX;
    if (stored) add_stored_only(out, &info, bytes, o, &reason);
    else if (err) *err = reason;
    convert_close(&c);
    file_model_close(file);
    return stored ? 0 : -1;
  }
  if (result == 0) {
    struct plan p = {.c = &c, .o = o, .stored = !(outlined_only && checkpoint_method(c.checkpoint))};
    p.tokens = o->context_tokens ? o->context_tokens : c.info.context_tokens;
    p.kv = kv_bytes(&c.info, o->kv, p.tokens);
    for (size_t i = 0; i < c.n_tensors; i++)
      if (!c.tensors[i].values) p.parameters = added(p.parameters, elements(&c.tensors[i]));
    if (o->json) add_json(out, &p);
    else add_text(out, &p);
  }
  convert_close(&c);
  file_model_close(file);
  return result;
}
