/* plan_gte: the tensors of a GTE model out of its configuration, in either spelling (model/gte.c). SPDX-License-Identifier: Apache-2.0
 * GTE has no form in GGUF and so no list in convert.c. */
#include <stdio.h>
#include <stdlib.h>

#include "app/plan.h"
#include "base/js.h"
#include "base/mem.h"

enum { NAME_BYTES = 64, FRONT_MAX = 4, LAYER_MAX = 16, LAYERS_MAX = 1000 };

/* Rows and columns: V, D, F or T of the configuration, '3' for 3D, '2' for 2F; columns 0: a vector. */
struct row {
  const char *name;
  char rows, columns;
};

static const struct row FRONT[] = {
    {"embeddings.word_embeddings.weight", 'V', 'D'},
    {"embeddings.LayerNorm.weight", 'D', 0},
    {"embeddings.LayerNorm.bias", 'D', 0},
    {"embeddings.token_type_embeddings.weight", 'T', 'D'}, /* last: not every model has types */
};
static const struct row OWN_QKV[] = {
    {"encoder.layer.%zu.attention.qkv_proj.weight", '3', 'D'},
    {"encoder.layer.%zu.attention.qkv_proj.bias", '3', 0},
};
static const struct row OWN_Q_K_V[] = {
    {"encoder.layer.%zu.attention.q_proj.weight", 'D', 'D'}, {"encoder.layer.%zu.attention.q_proj.bias", 'D', 0},
    {"encoder.layer.%zu.attention.k_proj.weight", 'D', 'D'}, {"encoder.layer.%zu.attention.k_proj.bias", 'D', 0},
    {"encoder.layer.%zu.attention.v_proj.weight", 'D', 'D'}, {"encoder.layer.%zu.attention.v_proj.bias", 'D', 0},
};
static const struct row OWN_LAYER[] = {
    {"encoder.layer.%zu.attention.o_proj.weight", 'D', 'D'},
    {"encoder.layer.%zu.attention.o_proj.bias", 'D', 0},
    {"encoder.layer.%zu.attn_ln.weight", 'D', 0},
    {"encoder.layer.%zu.attn_ln.bias", 'D', 0},
    {"encoder.layer.%zu.mlp.up_gate_proj.weight", '2', 'D'},
    {"encoder.layer.%zu.mlp.down_proj.weight", 'D', 'F'},
    {"encoder.layer.%zu.mlp.down_proj.bias", 'D', 0},
    {"encoder.layer.%zu.mlp_ln.weight", 'D', 0},
    {"encoder.layer.%zu.mlp_ln.bias", 'D', 0},
};
static const struct row TRANSFORMERS_LAYER[] = {
    {"layers.%zu.self_attn.q_proj.weight", 'D', 'D'},       {"layers.%zu.self_attn.q_proj.bias", 'D', 0},
    {"layers.%zu.self_attn.k_proj.weight", 'D', 'D'},       {"layers.%zu.self_attn.k_proj.bias", 'D', 0},
    {"layers.%zu.self_attn.v_proj.weight", 'D', 'D'},       {"layers.%zu.self_attn.v_proj.bias", 'D', 0},
    {"layers.%zu.self_attn.o_proj.weight", 'D', 'D'},       {"layers.%zu.self_attn.o_proj.bias", 'D', 0},
    {"layers.%zu.post_attention_layernorm.weight", 'D', 0}, {"layers.%zu.post_attention_layernorm.bias", 'D', 0},
    {"layers.%zu.mlp.gate_proj.weight", 'F', 'D'},          {"layers.%zu.mlp.up_proj.weight", 'F', 'D'},
    {"layers.%zu.mlp.down_proj.weight", 'D', 'F'},          {"layers.%zu.mlp.down_proj.bias", 'D', 0},
    {"layers.%zu.post_mlp_layernorm.weight", 'D', 0},       {"layers.%zu.post_mlp_layernorm.bias", 'D', 0},
};
#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

struct sizes {
  int64_t V, D, F, T, n_layers;
};

/* Those that cannot be are refused before anything grows with them. */
static bool read_sizes(const struct js *config, struct sizes *s) {
  return js_int(js_get(config, "vocab_size"), &s->V) && js_int(js_get(config, "hidden_size"), &s->D) &&
         js_int(js_get(config, "intermediate_size"), &s->F) && js_int(js_get(config, "num_hidden_layers"), &s->n_layers) && s->V > 0 &&
         s->V <= 1 << 28 && s->D > 0 && s->D <= 1 << 17 && s->F > 0 && s->F <= 1 << 20 && s->n_layers > 0 && s->n_layers <= LAYERS_MAX &&
         s->T >= 0 && s->T <= 1 << 20;
}

static uint64_t size_of(const struct sizes *s, char which) {
  switch (which) {
    case 'V': return (uint64_t)s->V;
    case 'F': return (uint64_t)s->F;
    case '2': return 2 * (uint64_t)s->F;
    case 'T': return (uint64_t)s->T;
    case '3': return 3 * (uint64_t)s->D;
    default: return which ? (uint64_t)s->D : 1;
  }
}

struct listing {
  struct file_tensor *tensors;
  char (*names)[NAME_BYTES];
  size_t n;
};

static void add_rows(struct listing *l, const struct row *rows, size_t n, size_t layer, const struct sizes *s, enum dtype dtype) {
  for (size_t i = 0; i < n; i++, l->n++) {
    const char *hole = strstr(rows[i].name, "%zu");
    int before = hole ? (int)(hole - rows[i].name) : 0;
    if (hole) snprintf(l->names[l->n], NAME_BYTES, "%.*s%zu%s", before, rows[i].name, layer, hole + 3);
    else snprintf(l->names[l->n], NAME_BYTES, "%s", rows[i].name);
    uint64_t r = size_of(s, rows[i].rows), c = size_of(s, rows[i].columns);
    struct file_tensor *t = &l->tensors[l->n];
    *t = (struct file_tensor){
        .name = slice_cstr(l->names[l->n]), .dtype = dtype, .rank = rows[i].columns ? 2 : 1, .shape = {r, c}, .n_elements = r * c};
    dtype_bytes(dtype, t->n_elements, &t->n_bytes);
  }
}

int plan_gte_outline(struct file_model *file, bool own_names, enum dtype dtype, struct error *err) {
  struct sizes s = {0};
  bool packed = true;
  js_int(js_get(file->config, "type_vocab_size"), &s.T);
  js_bool(js_get(file->config, "pack_qkv"), &packed);
  if (!read_sizes(file->config, &s))
    return error_set(err, ERROR_CORRUPT,
                     "%s: config.json must say vocab_size, hidden_size, intermediate_size and num_hidden_layers, each in sane bounds.",
                     file->path);
  size_t most = FRONT_MAX + (size_t)s.n_layers * LAYER_MAX;
  struct listing l = {.tensors = mem_zalloc(most, sizeof *l.tensors), .names = mem_zalloc(most, sizeof *l.names)};
  add_rows(&l, FRONT, COUNT(FRONT) - (s.T == 0), 0, &s, dtype);
  for (size_t n = 0; n < (size_t)s.n_layers; n++) {
    if (!own_names) {
      add_rows(&l, TRANSFORMERS_LAYER, COUNT(TRANSFORMERS_LAYER), n, &s, dtype);
      continue;
    }
    if (packed) add_rows(&l, OWN_QKV, COUNT(OWN_QKV), n, &s, dtype);
    else add_rows(&l, OWN_Q_K_V, COUNT(OWN_Q_K_V), n, &s, dtype);
    add_rows(&l, OWN_LAYER, COUNT(OWN_LAYER), n, &s, dtype);
  }
  file->tensors = safetensors_outline(l.tensors, l.n, err);
  free(l.tensors);
  free(l.names);
  return file->tensors ? 0 : -1;
}
