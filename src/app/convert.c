/* convert: see convert.h. SPDX-License-Identifier: Apache-2.0 */
#include "app/convert.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/js.h"
#include "base/mem.h"

enum { CHUNK_ROWS = 1024 };

/* ---- the plan ---- */

static bool in_source(const struct convert *c, const char *name) { return checkpoint_witness(c->checkpoint, name) != NULL; }

static struct convert_tensor *add(struct convert *c, const char *name, enum convert_how how) {
  if ((c->n_tensors & (c->n_tensors - 1)) == 0)
    c->tensors = mem_realloc(c->tensors, c->n_tensors ? 2 * c->n_tensors : 1, sizeof *c->tensors);
  struct convert_tensor *t = &c->tensors[c->n_tensors++];
  *t = (struct convert_tensor){.name = mem_strdup(name), .how = how};
  return t;
}

static void set_shape(struct convert_tensor *t, uint64_t outer, uint64_t rows, uint64_t columns) {
  t->rank = 0;
  if (outer) t->shape[t->rank++] = outer;
  if (rows) t->shape[t->rank++] = rows;
  t->shape[t->rank++] = columns;
}

static void add_source(struct convert_tensor *t, const char *name) {
  t->sources = mem_realloc(t->sources, t->n_sources + 1, sizeof *t->sources);
  t->sources[t->n_sources++] = mem_strdup(name);
}

/* What stands for a layer in both names: one "%zu" each, or none. */
static char *spelled(const char *prefix, const char *pattern, size_t layer) {
  struct buf out = {0};
  const char *hole = strstr(pattern, "%zu");
  buf_add_cstr(&out, prefix);
  if (hole) {
    buf_add(&out, pattern, (size_t)(hole - pattern));
    buf_printf(&out, "%zu%s", layer, hole + 3);
  } else {
    buf_add_cstr(&out, pattern);
  }
  return out.data;
}

/* One row of a family's table. rows 0: a vector. An optional tensor is left out when the source has none. */
struct rule {
  const char *source, *name; /* HF; GGUF */
  size_t rows, columns;
  enum convert_how how;
  size_t heads;
  bool optional;
};

/* The older spelling of a LayerNorm's tensor, where the source has that one. */
static char *older_norm(const struct convert *c, char *source) {
  static const char *const spellings[][2] = {{"LayerNorm.weight", "LayerNorm.gamma"}, {"LayerNorm.bias", "LayerNorm.beta"}};
  for (size_t i = 0; i < 2; i++) {
    struct slice stem = slice_cstr(source);
    if (!slice_ends(stem, slice_cstr(spellings[i][0])) || in_source(c, source)) continue;
    stem.len -= strlen(spellings[i][0]);
    struct buf older = {0};
    buf_printf(&older, "%.*s%s", SLICE_ARG(stem), spellings[i][1]);
    if (in_source(c, older.data)) {
      free(source);
      return older.data;
    }
    buf_free(&older);
  }
  return source;
}

static void add_rule(struct convert *c, const struct rule *r, const char *prefix, size_t layer) {
  char *source = older_norm(c, spelled(prefix, r->source, layer)), *name = spelled("", r->name, layer);
  if (!r->optional || in_source(c, source)) {
    struct convert_tensor *t = add(c, name, r->how);
    t->heads = r->heads;
    set_shape(t, 0, r->rows, r->columns);
    add_source(t, source);
  }
  free(source);
  free(name);
}

static void add_rules(struct convert *c, const struct rule *rules, size_t n, const char *prefix, size_t layer) {
  for (size_t i = 0; i < n; i++) add_rule(c, &rules[i], prefix, layer);
}
#define ADD_RULES(c, rules, prefix, layer) add_rules(c, rules, sizeof(rules) / sizeof((rules)[0]), prefix, layer)

/* ---- families ---- */

static bool config_int(const struct convert *c, const char *object, const char *key, int64_t *out) {
  const struct js *from = object ? js_get(c->file->config, object) : c->file->config;
  return js_int(js_get(from, key), out);
}

static size_t n_experts(const struct convert *c) {
  int64_t n = 0;
  if (!config_int(c, NULL, "num_local_experts", &n)) config_int(c, "ffn_config", "moe_num_experts", &n);
  return n > 0 && n <= 4096 ? (size_t)n : 0;
}

static void add_head(struct convert *c) {
  if (!c->info.tied_head) add_rule(c, &(struct rule){"lm_head.weight", "output.weight", c->info.n_vocab, c->info.n_embd}, "", 0);
}

/* layers.N.block_sparse_moe.experts.X.<which>, all X in one tensor. */
static void add_experts(struct convert *c, size_t layer, const char *which, const char *name, size_t rows, size_t columns) {
  char *to = spelled("", name, layer);
  struct convert_tensor *t = add(c, to, CONVERT_ROWS);
  set_shape(t, n_experts(c), rows, columns);
  for (size_t e = 0; e < n_experts(c); e++) {
    char source[160];
    snprintf(source, sizeof source, "model.layers.%zu.block_sparse_moe.experts.%zu.%s.weight", layer, e, which);
    add_source(t, source);
  }
  free(to);
}

/* Out of a tensor that holds this matrix of all experts, [E, rows, columns], or twice the rows where a half is asked for. */
static void add_stack(struct convert *c, size_t layer, const char *source, const char *name, enum convert_how how, size_t rows,
                      size_t columns) {
  add_rule(c, &(struct rule){source, name, 1, 1, how}, "", layer);
  set_shape(&c->tensors[c->n_tensors - 1], n_experts(c), rows, columns);
}

/* As Mixtral was published, or as transformers 5 holds it in memory: all experts in one tensor, gate above up. */
static void plan_mixtral_experts(struct convert *c, size_t n) {
  size_t D = c->info.n_embd, F = c->info.n_ff, E = n_experts(c);
  char *fused = spelled("", "model.layers.%zu.mlp.experts.gate_up_proj", n);
  bool stacked = in_source(c, fused);
  free(fused);
  const char *router = stacked ? "model.layers.%zu.mlp.gate.weight" : "model.layers.%zu.block_sparse_moe.gate.weight";
  add_rule(c, &(struct rule){router, "blk.%zu.ffn_gate_inp.weight", E, D}, "", n);
  if (stacked) {
    add_stack(c, n, "model.layers.%zu.mlp.experts.gate_up_proj", "blk.%zu.ffn_gate_exps.weight", CONVERT_UPPER, F, D);
    add_stack(c, n, "model.layers.%zu.mlp.experts.gate_up_proj", "blk.%zu.ffn_up_exps.weight", CONVERT_LOWER, F, D);
    add_stack(c, n, "model.layers.%zu.mlp.experts.down_proj", "blk.%zu.ffn_down_exps.weight", CONVERT_ROWS, D, F);
    return;
  }
  add_experts(c, n, "w1", "blk.%zu.ffn_gate_exps.weight", F, D);
  add_experts(c, n, "w3", "blk.%zu.ffn_up_exps.weight", F, D);
  add_experts(c, n, "w2", "blk.%zu.ffn_down_exps.weight", D, F);
}

static void plan_llama_layer(struct convert *c, size_t n) {
  const struct model_info *s = &c->info;
  size_t D = s->n_embd, Q = s->n_heads * s->head_dim, K = s->n_kv_heads * s->head_dim, F = s->n_ff;
  const struct rule attention[] = {
      {"layers.%zu.input_layernorm.weight", "blk.%zu.attn_norm.weight", 0, D},
      {"layers.%zu.self_attn.q_proj.weight", "blk.%zu.attn_q.weight", Q, D, CONVERT_PERMUTE, s->n_heads},
      {"layers.%zu.self_attn.q_proj.bias", "blk.%zu.attn_q.bias", 0, Q, CONVERT_PERMUTE, s->n_heads, true},
      {"layers.%zu.self_attn.k_proj.weight", "blk.%zu.attn_k.weight", K, D, CONVERT_PERMUTE, s->n_kv_heads},
      {"layers.%zu.self_attn.k_proj.bias", "blk.%zu.attn_k.bias", 0, K, CONVERT_PERMUTE, s->n_kv_heads, true},
      {"layers.%zu.self_attn.v_proj.weight", "blk.%zu.attn_v.weight", K, D},
      {"layers.%zu.self_attn.v_proj.bias", "blk.%zu.attn_v.bias", 0, K, .optional = true},
      {"layers.%zu.self_attn.o_proj.weight", "blk.%zu.attn_output.weight", D, Q},
      {"layers.%zu.self_attn.o_proj.bias", "blk.%zu.attn_output.bias", 0, D, .optional = true},
      {"layers.%zu.post_attention_layernorm.weight", "blk.%zu.ffn_norm.weight", 0, D},
  };
  const struct rule dense[] = {
      {"layers.%zu.mlp.gate_proj.weight", "blk.%zu.ffn_gate.weight", F, D},
      {"layers.%zu.mlp.up_proj.weight", "blk.%zu.ffn_up.weight", F, D},
      {"layers.%zu.mlp.down_proj.weight", "blk.%zu.ffn_down.weight", D, F},
  };
  ADD_RULES(c, attention, "model.", n);
  if (n_experts(c)) plan_mixtral_experts(c, n);
  else ADD_RULES(c, dense, "model.", n);
}

static double member(const struct js *rule, const char *key, double fallback) {
  double value = fallback;
  js_real(js_get(rule, key), &value);
  return value;
}

/* The llama3 rule is not among GGUF's keys: it is a tensor of divisors, one for each frequency. */
static void plan_rope(struct convert *c) {
  const struct js *rule = js_get(c->file->config, "rope_parameters");
  if (js_type(rule) != JS_OBJECT) rule = js_get(c->file->config, "rope_scaling");
  struct slice type = {0};
  if (!js_str(js_get(rule, "rope_type"), &type)) js_str(js_get(rule, "type"), &type);
  if (!slice_eq(type, SLICE("llama3"))) return;
  double factor = member(rule, "factor", 8);
  double low = member(rule, "low_freq_factor", 1), high = member(rule, "high_freq_factor", 4);
  double context = member(rule, "original_max_position_embeddings", 8192);
  size_t half = c->info.head_dim / 2;
  c->rope_divisors = mem_alloc(half * sizeof *c->rope_divisors);
  for (size_t i = 0; i < half; i++) {
    float inv = 1.0f / (float)pow(c->info.rope_theta, (float)(2 * i) / (float)c->info.head_dim);
    double wavelength = 2 * 3.14159265358979323846 / inv, smooth = (context / wavelength - low) / (high - low);
    double scaled = wavelength < context / high  ? inv
                    : wavelength > context / low ? inv / factor
                                                 : (1 - smooth) * inv / factor + smooth * inv;
    c->rope_divisors[i] = (float)(inv / scaled);
  }
  struct convert_tensor *t = add(c, "rope_freqs.weight", CONVERT_ROWS);
  set_shape(t, 0, 0, half);
  t->values = c->rope_divisors;
}

static void plan_llama(struct convert *c) {
  size_t V = c->info.n_vocab, D = c->info.n_embd;
  add_rule(c, &(struct rule){"model.embed_tokens.weight", "token_embd.weight", V, D}, "", 0);
  plan_rope(c);
  for (size_t n = 0; n < c->info.n_layers; n++) plan_llama_layer(c, n);
  add_rule(c, &(struct rule){"model.norm.weight", "output_norm.weight", 0, D}, "", 0);
  add_head(c);
}

static void plan_dbrx(struct convert *c) {
  const struct model_info *s = &c->info;
  size_t V = s->n_vocab, D = s->n_embd, F = s->n_ff, E = n_experts(c);
  const struct rule layer[] = {
      {"blocks.%zu.norm_attn_norm.norm_1.weight", "blk.%zu.attn_norm.weight", 0, D},
      {"blocks.%zu.norm_attn_norm.attn.Wqkv.weight", "blk.%zu.attn_qkv.weight", (s->n_heads + 2 * s->n_kv_heads) * s->head_dim, D},
      {"blocks.%zu.norm_attn_norm.attn.out_proj.weight", "blk.%zu.attn_output.weight", D, D},
      {"blocks.%zu.norm_attn_norm.norm_2.weight", "blk.%zu.attn_output_norm.weight", 0, D},
      {"blocks.%zu.ffn.router.layer.weight", "blk.%zu.ffn_gate_inp.weight", E, D},
  };
  static const struct {
    const char *published, *quark, *name;
    enum convert_how how;
  } stacks[] = {{"transformer.blocks.%zu.ffn.experts.mlp.w1", "transformer.blocks.%zu.ffn.experts.mlp.w1_weight",
                 "blk.%zu.ffn_gate_exps.weight", CONVERT_ROWS},
                {"transformer.blocks.%zu.ffn.experts.mlp.v1", "transformer.blocks.%zu.ffn.experts.mlp.v1_weight",
                 "blk.%zu.ffn_up_exps.weight", CONVERT_ROWS},
                {"transformer.blocks.%zu.ffn.experts.mlp.w2", "transformer.blocks.%zu.ffn.experts.mlp.w2_weight",
                 "blk.%zu.ffn_down_exps.weight", CONVERT_TURN}};
  bool quark = in_source(c, "transformer.blocks.0.ffn.experts.mlp.w1_weight");
  add_rule(c, &(struct rule){"transformer.wte.weight", "token_embd.weight", V, D}, "", 0);
  for (size_t n = 0; n < s->n_layers; n++) {
    ADD_RULES(c, layer, "transformer.", n);
    for (size_t i = 0; i < 3; i++)
      add_stack(c, n, quark ? stacks[i].quark : stacks[i].published, stacks[i].name, stacks[i].how, stacks[i].how == CONVERT_TURN ? D : F,
                stacks[i].how == CONVERT_TURN ? F : D);
  }
  add_rule(c, &(struct rule){"transformer.norm_f.weight", "output_norm.weight", 0, D}, "", 0);
  add_head(c);
}

/* What the configuration does not ask for is not computed, so it is not written either. */
static void plan_mpt(struct convert *c) {
  const struct model_info *s = &c->info;
  size_t V = s->n_vocab, D = s->n_embd, Q = s->n_heads * s->head_dim, K = s->n_kv_heads * s->head_dim;
  bool no_bias = true, qk_norm = false;
  js_bool(js_get(c->file->config, "no_bias"), &no_bias);
  js_bool(js_get(js_get(c->file->config, "attn_config"), "qk_ln"), &qk_norm);
  const struct rule layer[] = {
      {"blocks.%zu.norm_1.weight", "blk.%zu.attn_norm.weight", 0, D},
      {"blocks.%zu.norm_1.bias", "blk.%zu.attn_norm.bias", 0, D, .optional = true},
      {"blocks.%zu.attn.Wqkv.weight", "blk.%zu.attn_qkv.weight", Q + 2 * K, D},
      {"blocks.%zu.attn.out_proj.weight", "blk.%zu.attn_output.weight", D, D},
      {"blocks.%zu.norm_2.weight", "blk.%zu.ffn_norm.weight", 0, D},
      {"blocks.%zu.norm_2.bias", "blk.%zu.ffn_norm.bias", 0, D, .optional = true},
      {"blocks.%zu.ffn.up_proj.weight", "blk.%zu.ffn_up.weight", s->n_ff, D},
      {"blocks.%zu.ffn.down_proj.weight", "blk.%zu.ffn_down.weight", D, s->n_ff},
  };
  const struct rule biases[] = {
      {"blocks.%zu.attn.Wqkv.bias", "blk.%zu.attn_qkv.bias", 0, Q + 2 * K, .optional = true},
      {"blocks.%zu.attn.out_proj.bias", "blk.%zu.attn_output.bias", 0, D, .optional = true},
      {"blocks.%zu.ffn.up_proj.bias", "blk.%zu.ffn_up.bias", 0, s->n_ff, .optional = true},
      {"blocks.%zu.ffn.down_proj.bias", "blk.%zu.ffn_down.bias", 0, D, .optional = true},
  };
  const struct rule qk_norms[] = {
      {"blocks.%zu.attn.q_ln.weight", "blk.%zu.attn_q_norm.weight", 0, Q},
      {"blocks.%zu.attn.q_ln.bias", "blk.%zu.attn_q_norm.bias", 0, Q, .optional = true},
      {"blocks.%zu.attn.k_ln.weight", "blk.%zu.attn_k_norm.weight", 0, K},
      {"blocks.%zu.attn.k_ln.bias", "blk.%zu.attn_k_norm.bias", 0, K, .optional = true},
  };
  add_rule(c, &(struct rule){"transformer.wte.weight", "token_embd.weight", V, D}, "", 0);
  for (size_t n = 0; n < s->n_layers; n++) {
    ADD_RULES(c, layer, "transformer.", n);
    if (!no_bias) ADD_RULES(c, biases, "transformer.", n);
    if (qk_norm) ADD_RULES(c, qk_norms, "transformer.", n);
  }
  add_rule(c, &(struct rule){"transformer.norm_f.weight", "output_norm.weight", 0, D}, "", 0);
  add_rule(c, &(struct rule){"transformer.norm_f.bias", "output_norm.bias", 0, D, .optional = true}, "", 0);
  add_head(c);
}

static void plan_bert_layer(struct convert *c, const char *prefix, size_t n) {
  size_t D = c->info.n_embd, F = c->info.n_ff;
  const struct rule layer[] = {
      {"encoder.layer.%zu.attention.self.query.weight", "blk.%zu.attn_q.weight", D, D},
      {"encoder.layer.%zu.attention.self.query.bias", "blk.%zu.attn_q.bias", 0, D},
      {"encoder.layer.%zu.attention.self.key.weight", "blk.%zu.attn_k.weight", D, D},
      {"encoder.layer.%zu.attention.self.key.bias", "blk.%zu.attn_k.bias", 0, D},
      {"encoder.layer.%zu.attention.self.value.weight", "blk.%zu.attn_v.weight", D, D},
      {"encoder.layer.%zu.attention.self.value.bias", "blk.%zu.attn_v.bias", 0, D},
      {"encoder.layer.%zu.attention.output.dense.weight", "blk.%zu.attn_output.weight", D, D},
      {"encoder.layer.%zu.attention.output.dense.bias", "blk.%zu.attn_output.bias", 0, D},
      {"encoder.layer.%zu.attention.output.LayerNorm.weight", "blk.%zu.attn_output_norm.weight", 0, D},
      {"encoder.layer.%zu.attention.output.LayerNorm.bias", "blk.%zu.attn_output_norm.bias", 0, D},
      {"encoder.layer.%zu.intermediate.dense.weight", "blk.%zu.ffn_up.weight", F, D},
      {"encoder.layer.%zu.intermediate.dense.bias", "blk.%zu.ffn_up.bias", 0, F},
      {"encoder.layer.%zu.output.dense.weight", "blk.%zu.ffn_down.weight", D, F},
      {"encoder.layer.%zu.output.dense.bias", "blk.%zu.ffn_down.bias", 0, D},
      {"encoder.layer.%zu.output.LayerNorm.weight", "blk.%zu.layer_output_norm.weight", 0, D},
      {"encoder.layer.%zu.output.LayerNorm.bias", "blk.%zu.layer_output_norm.bias", 0, D},
  };
  ADD_RULES(c, layer, prefix, n);
}

static void plan_bert(struct convert *c) {
  const char *prefix = in_source(c, "bert.embeddings.word_embeddings.weight") ? "bert." : "";
  int64_t positions = 0, types = 2;
  config_int(c, NULL, "max_position_embeddings", &positions);
  config_int(c, NULL, "type_vocab_size", &types);
  size_t D = c->info.n_embd;
  const struct rule ends[] = {
      {"embeddings.word_embeddings.weight", "token_embd.weight", c->info.n_vocab, D},
      {"embeddings.position_embeddings.weight", "position_embd.weight", (size_t)positions, D},
      {"embeddings.token_type_embeddings.weight", "token_types.weight", (size_t)types, D},
      {"embeddings.LayerNorm.weight", "token_embd_norm.weight", 0, D},
      {"embeddings.LayerNorm.bias", "token_embd_norm.bias", 0, D},
  };
  ADD_RULES(c, ends, prefix, 0);
  for (size_t n = 0; n < c->info.n_layers; n++) plan_bert_layer(c, prefix, n);
}

/* ---- is everything in its place? ---- */

static bool is_left_out(struct slice name) {
  static const char *const endings[] = {".rotary_emb.inv_freq", "position_ids", "lm_head.weight", ".attn.bias", ".masked_bias"};
  for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++)
    if (slice_ends(name, slice_cstr(endings[i]))) return true;
  return slice_starts(name, SLICE("pooler.")) || slice_starts(name, SLICE("bert.pooler.")) || slice_starts(name, SLICE("cls."));
}

static int compare_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static bool is_planned(char **used, size_t n, struct slice stem, const char *ending) {
  struct buf name = {0};
  buf_add_slice(&name, stem);
  buf_add_cstr(&name, ending);
  char *key = name.data;
  bool found = bsearch(&key, used, n, sizeof *used, compare_text) != NULL;
  buf_free(&name);
  return found;
}

/* Whether a tensor of the source is one of the planned, or stands beside a planned matrix: X.scales; X_scale beside the stack X; X_input_scale
 * beside X_weight, which is for activations and which no product here needs. */
static bool is_used(char **used, size_t n, struct slice name) {
  static const char *const endings[] = {"_scale_inv", "_scale", "_input_scale"};
  const char *dot = memrchr(name.data, '.', name.len);
  if (is_planned(used, n, name, "")) return true;
  if (dot && is_planned(used, n, slice_make(name.data, (size_t)(dot - name.data)), ".weight")) return true;
  for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
    if (!slice_ends(name, slice_cstr(endings[i]))) continue;
    struct slice stem = slice_make(name.data, name.len - strlen(endings[i]));
    if (is_planned(used, n, stem, "") || is_planned(used, n, stem, "_weight")) return true;
  }
  return false;
}

/* No tensor of the source may be lost. */
static int check_all_used(const struct convert *c, struct error *err) {
  size_t n = 0;
  for (size_t i = 0; i < c->n_tensors; i++) n += c->tensors[i].n_sources;
  char **used = mem_zalloc(n + 1, sizeof *used);
  n = 0;
  for (size_t i = 0; i < c->n_tensors; i++)
    for (size_t k = 0; k < c->tensors[i].n_sources; k++) used[n++] = c->tensors[i].sources[k];
  qsort(used, n, sizeof *used, compare_text);
  int result = 0;
  for (size_t i = 0; i < safetensors_n_tensors(c->file->tensors) && result == 0; i++) {
    struct slice name = safetensors_tensor_at(c->file->tensors, i)->name;
    if (is_left_out(name) || is_used(used, n, name)) continue;
    result = error_set(err, ERROR_UNSUPPORTED, "%s: the tensor %.*s has no place in a GGUF file of this architecture.", c->file->path,
                       SLICE_ARG(name));
  }
  free(used);
  return result;
}

static int plan_hugging_face(struct convert *c, struct error *err) {
  static const struct {
    const char *architecture;
    void (*plan)(struct convert *c);
  } families[] = {{"llama", plan_llama}, {"mistral", plan_llama}, {"mixtral", plan_llama},
                  {"dbrx", plan_dbrx},   {"mpt", plan_mpt},       {"bert", plan_bert}};
  for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
    if (strcmp(c->info.architecture, families[i].architecture) != 0) continue;
    families[i].plan(c);
    return check_all_used(c, err);
  }
  return error_set(err, ERROR_UNSUPPORTED, "%s: GGUF has no form for the architecture \"%s\".", c->file->path, c->info.architecture);
}

static void plan_gguf(struct convert *c) {
  for (size_t i = 0; i < gguf_n_tensors(c->file->gguf); i++) {
    const struct file_tensor *from = gguf_tensor_at(c->file->gguf, i);
    char *name = mem_dup(from->name.data, from->name.len);
    struct convert_tensor *t = add(c, name, CONVERT_ROWS);
    t->rank = from->rank;
    memcpy(t->shape, from->shape, sizeof t->shape);
    add_source(t, name);
    free(name);
  }
}

int convert_open(struct convert *c, const struct file_model *file, struct error *err) {
  *c = (struct convert){.file = file};
  if (!(c->checkpoint = checkpoint_open(file, err)) || model_inspect(file, &c->info, err) < 0) return -1;
  if (file->container == FILE_SAFETENSORS) return plan_hugging_face(c, err);
  plan_gguf(c);
  return 0;
}

void convert_close(struct convert *c) {
  for (size_t i = 0; i < c->n_tensors; i++) {
    for (size_t k = 0; k < c->tensors[i].n_sources; k++) free(c->tensors[i].sources[k]);
    free(c->tensors[i].sources);
    free(c->tensors[i].name);
  }
  free(c->tensors);
  free(c->rope_divisors);
  checkpoint_close(c->checkpoint);
  *c = (struct convert){0};
}

/* ---- rows ---- */

/* Rows of one source on their way. */
struct reading {
  const struct convert_tensor *t;
  const struct file_tensor *from;
  size_t rows, columns; /* of the result that this source gives */
  size_t begin;         /* the first row of the chunk */
  float *out;
};

/* Row r of the result is this row of the source. */
static size_t source_row(const struct reading *r, size_t row) {
  if (r->t->how == CONVERT_UPPER || r->t->how == CONVERT_LOWER) {
    size_t rows = (size_t)r->t->shape[1], lower = r->t->how == CONVERT_LOWER ? rows : 0;
    return row / rows * 2 * rows + lower + row % rows;
  }
  if (r->t->how != CONVERT_PERMUTE) return row;
  size_t d = r->rows / r->t->heads, head = row / d, within = row % d;
  return head * d + within % 2 * (d / 2) + within / 2;
}

static void read_row(void *job, int tile, int worker) {
  (void)worker;
  const struct reading *r = job;
  size_t row = r->begin + (size_t)tile;
  float *to = r->out + (size_t)tile * r->columns;
  const struct dtype_info *type = dtype_info(r->from->dtype);
  const unsigned char *data = r->from->data;
  if (r->t->how != CONVERT_TURN) {
    size_t row_bytes = r->columns / type->block_elements * type->block_bytes;
    dtype_to_f32(r->from->dtype, data + source_row(r, row) * row_bytes, to, r->columns);
    return;
  }
  size_t rows = (size_t)r->t->shape[1], matrix = row / rows, at = row % rows; /* stored [columns, rows] */
  for (size_t k = 0; k < r->columns; k++)
    dtype_to_f32(r->from->dtype, data + ((matrix * r->columns + k) * rows + at) * type->block_bytes, to + k, 1);
}

static int check_source(const struct convert *c, const struct reading *r, const char *name, struct error *err) {
  const struct file_tensor *t = r->from;
  size_t block = dtype_info(t->dtype)->block_elements;
  size_t rows = r->t->how == CONVERT_UPPER || r->t->how == CONVERT_LOWER ? 2 * r->rows : r->rows;
  if (t->n_elements != (uint64_t)rows * r->columns)
    return error_set(err, ERROR_CORRUPT, "%s: the tensor %s has %llu values, but the model's configuration demands %zu x %zu.",
                     c->file->path, name, (unsigned long long)t->n_elements, rows, r->columns);
  if (r->columns % block || (block > 1 && r->t->how == CONVERT_TURN))
    return error_set(err, ERROR_UNSUPPORTED, "%s: the tensor %s cannot be taken apart in the type %s.", c->file->path, name,
                     dtype_info(t->dtype)->name);
  return 0;
}

static int send_rows(struct reading *r, struct pool *pool, convert_fn *fn, void *ctx, struct error *err) {
  size_t chunk = r->rows < CHUNK_ROWS ? r->rows : CHUNK_ROWS;
  r->out = malloc(chunk * r->columns * sizeof *r->out + 64);
  if (!r->out) return error_set(err, ERROR_NO_MEMORY, "There is no memory for %zu rows of %zu values.", chunk, r->columns);
  int result = 0;
  for (r->begin = 0; r->begin < r->rows && result == 0; r->begin += chunk) {
    size_t n = r->rows - r->begin < chunk ? r->rows - r->begin : chunk;
    pool_run(pool, read_row, r, (int)n);
    result = fn(ctx, r->out, n, r->columns, err);
  }
  free(r->out);
  return result;
}

/* The matrices of all experts in 8-bit floats, whose scales are those of an expert: it is read expert by expert. */
static const struct file_tensor *scaled_stack(const struct convert *c, const struct convert_tensor *t) {
  const struct file_tensor *from = t->rank == 3 && t->n_sources == 1 ? checkpoint_witness(c->checkpoint, t->sources[0]) : NULL;
  return from && (from->dtype == DTYPE_F8_E4M3 || from->dtype == DTYPE_F8_E5M2) ? from : NULL;
}

static struct checkpoint_rows rows_of_expert(const struct convert_tensor *t, size_t expert) {
  size_t rows = (size_t)t->shape[1], columns = (size_t)t->shape[2];
  bool half = t->how == CONVERT_UPPER || t->how == CONVERT_LOWER;
  struct checkpoint_rows r = {.rows_per_expert = half ? 2 * rows : rows, .n = rows, .columns = columns};
  if (t->how == CONVERT_TURN) r = (struct checkpoint_rows){.rows_per_expert = columns, .n = columns, .columns = rows};
  r.begin = expert * r.rows_per_expert + (t->how == CONVERT_LOWER ? rows : 0);
  return r;
}

static int send_scaled_stack(const struct convert *c, const struct convert_tensor *t, const struct file_tensor *from, struct pool *pool,
                             convert_fn *fn, void *ctx, struct error *err) {
  struct convert_tensor one = *t;
  struct reading whole = {.t = t, .from = from, .rows = (size_t)(t->shape[0] * t->shape[1]), .columns = (size_t)t->shape[2]};
  if (check_source(c, &whole, t->sources[0], err) < 0) return -1;
  if (one.how != CONVERT_TURN) one.how = CONVERT_ROWS;
  for (size_t e = 0; e < t->shape[0]; e++) {
    struct checkpoint_tensor source;
    struct checkpoint_rows rows = rows_of_expert(t, e);
    if (checkpoint_read_rows(c->checkpoint, from, &rows, pool, &source, err) < 0) return -1;
    struct reading r = {.t = &one, .from = &source.view, .rows = (size_t)t->shape[1], .columns = (size_t)t->shape[2]};
    int result = check_source(c, &r, t->sources[0], err) < 0 ? -1 : send_rows(&r, pool, fn, ctx, err);
    checkpoint_release(&source);
    if (result < 0) return -1;
  }
  return 0;
}

int convert_rows(const struct convert *c, const struct convert_tensor *t, struct pool *pool, convert_fn *fn, void *ctx, struct error *err) {
  size_t columns = t->rank ? (size_t)t->shape[t->rank - 1] : 1, rows = 1;
  for (unsigned i = 0; i + 1 < t->rank; i++) rows *= (size_t)t->shape[i];
  if (t->values) return fn(ctx, t->values, rows, columns, err);
  const struct file_tensor *stack = scaled_stack(c, t);
  if (stack) return send_scaled_stack(c, t, stack, pool, fn, ctx, err);
  bool vector = t->rank <= 1 && t->how == CONVERT_PERMUTE; /* of a bias the elements are the rows */
  for (size_t i = 0; i < t->n_sources; i++) {
    struct checkpoint_tensor source;
    int found = checkpoint_read(c->checkpoint, t->sources[i], pool, &source, err);
    if (found == 0) error_set(err, ERROR_CORRUPT, "%s: the tensor %s is missing.", c->file->path, t->sources[i]);
    if (found <= 0) return -1;
    struct reading r = {.t = t, .from = &source.view, .rows = vector ? columns : rows / t->n_sources, .columns = vector ? 1 : columns};
    int result = check_source(c, &r, t->sources[i], err) < 0 ? -1 : send_rows(&r, pool, fn, ctx, err);
    checkpoint_release(&source);
    if (result < 0) return -1;
  }
  return 0;
}
