/* checkpoint: tensors of quantized checkpoints; see model.h, layouts in doc/format/checkpoints.md. SPDX-License-Identifier: Apache-2.0
 *
 * config.json says how (quantization_config, or the older compression_config), or a file beside it. Whether a certain matrix is
 * quantized shows in the tensors that stand in place of X.weight or beside it, so the lists of exempted modules are not needed. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/buf.h"
#include "base/js.h"
#include "base/mem.h"
#include "model/checkpoint.h"

enum { FP8_BLOCK = 128 }; /* rows and columns of a scale where the settings do not say */

enum method { METHOD_NONE, METHOD_GPTQ, METHOD_AWQ, METHOD_FP8, METHOD_COMPRESSED };

struct checkpoint {
  const struct file_model *file; /* borrowed */
  struct js *own;                /* quantize_config.json or quant_config.json, when it came from there */
  const struct js *config;
  const char *where; /* the keys' place, for messages */
  enum method method;
  int bits;                       /* of integers; 8 for floats */
  size_t group_size;              /* 0: one group, the whole input */
  bool v2;                        /* GPTQ: zeros are stored as they are */
  size_t block_rows, block_cols;  /* scales of blocks; 0: none */
  bool symmetric, is_float, pack; /* compressed-tensors */
};

/* ---- the configuration ---- */

static int refuse(const struct checkpoint *c, const char *key, const struct js *value, const char *known, struct error *err) {
  struct buf text = {0};
  struct slice s;
  int64_t n;
  bool b;
  if (js_str(value, &s)) buf_printf(&text, "\"%.*s\"", (int)(s.len < 60 ? s.len : 60), s.data);
  else if (js_int(value, &n)) buf_printf(&text, "%lld", (long long)n);
  else if (js_bool(value, &b)) buf_add_cstr(&text, b ? "true" : "false");
  else buf_printf(&text, "of the type %s", js_type_name(value));
  error_set(err, ERROR_UNSUPPORTED, "%s: %s in %s is %s, which Plinth cannot load; it knows %s.", c->file->path, key, c->where, text.data,
            known);
  buf_free(&text);
  return -1;
}

static bool present(const struct js *v) { return js_type(v) != JS_NONE && js_type(v) != JS_NULL; }

/* One of the words, whatever its case; *out its place. An absent key is the first. */
static int read_word(const struct checkpoint *c, const struct js *from, const char *key, const char *const *words, const char *known,
                     size_t *out, struct error *err) {
  const struct js *v = js_get(from, key);
  struct slice text;
  *out = 0;
  if (!present(v)) return 0;
  for (size_t i = 0; js_str(v, &text) && words[i]; i++) {
    if (text.len != strlen(words[i]) || strncasecmp(text.data, words[i], text.len) != 0) continue;
    *out = i;
    return 0;
  }
  return refuse(c, key, v, known, err);
}

static int read_bits(struct checkpoint *c, const struct js *from, const char *key, int64_t fallback, unsigned long allowed,
                     const char *known, struct error *err) {
  int64_t bits = fallback;
  const struct js *v = js_get(from, key);
  if (present(v) && !js_int(v, &bits)) return refuse(c, key, v, known, err);
  if (bits < 1 || bits > 16 || !(allowed >> bits & 1)) {
    if (present(v)) return refuse(c, key, v, known, err);
    return error_set(err, ERROR_UNSUPPORTED, "%s: %s is missing in %s.", c->file->path, key, c->where);
  }
  c->bits = (int)bits;
  return 0;
}

/* −1 and absence mean the whole input. */
static int read_group(struct checkpoint *c, const struct js *from, const char *key, struct error *err) {
  const struct js *v = js_get(from, key);
  int64_t n = -1;
  if (present(v) && (!js_int(v, &n) || n == 0 || n < -1 || n > 1 << 24)) return refuse(c, key, v, "-1 and positive counts", err);
  c->group_size = n < 0 ? 0 : (size_t)n;
  return 0;
}

static int read_flag(const struct checkpoint *c, const struct js *from, const char *key, bool *out, struct error *err) {
  const struct js *v = js_get(from, key);
  return !present(v) || js_bool(v, out) ? 0 : refuse(c, key, v, "true and false", err);
}

/* [rows, columns]; absent: none. */
static int read_blocks(struct checkpoint *c, const struct js *from, const char *key, struct error *err) {
  const struct js *v = js_get(from, key);
  int64_t rows, cols;
  if (!present(v)) return 0;
  if (js_len(v) != 2 || !js_int(js_at(v, 0), &rows) || !js_int(js_at(v, 1), &cols) || rows < 1 || cols < 1 || rows > 1 << 24 ||
      cols > 1 << 24)
    return refuse(c, key, v, "two positive counts", err);
  c->block_rows = (size_t)rows;
  c->block_cols = (size_t)cols;
  return 0;
}

static int read_gptq(struct checkpoint *c, struct error *err) {
  static const char *const formats[] = {"gptq", "gptq_v2", NULL}, *const packs[] = {"int32", NULL};
  size_t format, pack;
  bool marlin = false;
  const struct js *dynamic = js_get(c->config, "dynamic");
  if (read_bits(c, c->config, "bits", 0, 1 << 2 | 1 << 3 | 1 << 4 | 1 << 8, "2, 3, 4 and 8", err) < 0 ||
      read_group(c, c->config, "group_size", err) < 0 ||
      read_word(c, c->config, "checkpoint_format", formats, "\"gptq\" and \"gptq_v2\"", &format, err) < 0 ||
      read_word(c, c->config, "pack_dtype", packs, "\"int32\"", &pack, err) < 0 ||
      read_flag(c, c->config, "is_marlin_format", &marlin, err) < 0)
    return -1;
  if (marlin) return refuse(c, "is_marlin_format", js_get(c->config, "is_marlin_format"), "false", err);
  if (js_len(dynamic)) return refuse(c, "dynamic", dynamic, "one setting for all modules", err);
  c->v2 = format == 1;
  return 0;
}

static int read_awq(struct checkpoint *c, struct error *err) {
  static const char *const versions[] = {"gemm", NULL};
  size_t version;
  bool zero_point = true;
  bool old = present(js_get(c->config, "w_bit")) || present(js_get(c->config, "q_group_size")); /* the names of its first tools */
  if (read_bits(c, c->config, old ? "w_bit" : "bits", 4, 1 << 4, "4", err) < 0 ||
      read_group(c, c->config, old ? "q_group_size" : "group_size", err) < 0 ||
      read_word(c, c->config, "version", versions, "\"gemm\"", &version, err) < 0 ||
      read_flag(c, c->config, "zero_point", &zero_point, err) < 0)
    return -1;
  return zero_point ? 0 : refuse(c, "zero_point", js_get(c->config, "zero_point"), "true", err);
}

static int read_fp8(struct checkpoint *c, struct error *err) {
  static const char *const formats[] = {"e4m3", "float8_e4m3fn", "e5m2", NULL};
  size_t format;
  c->bits = 8;
  c->is_float = true;
  if (read_word(c, c->config, "fmt", formats, "\"e4m3\" and \"e5m2\"", &format, err) < 0) return -1;
  return read_blocks(c, c->config, "weight_block_size", err);
}

/* The weights of a group of modules; all groups must say the same. */
static int read_scheme(struct checkpoint *c, const struct js *weights, struct error *err) {
  static const char *const types[] = {"int", "float", NULL}, *const strategies[] = {"tensor", "channel", "group", "block", NULL};
  size_t type, strategy;
  c->symmetric = true;
  if (read_word(c, weights, "type", types, "\"int\" and \"float\"", &type, err) < 0 ||
      read_word(c, weights, "strategy", strategies, "\"tensor\", \"channel\", \"group\" and \"block\"", &strategy, err) < 0 ||
      read_flag(c, weights, "symmetric", &c->symmetric, err) < 0)
    return -1;
  c->is_float = type == 1;
  if (read_bits(c, weights, "num_bits", 8, type ? 1 << 8 : 0x1FC, type ? "8 for floats" : "2 to 8 for integers", err) < 0) return -1;
  if (strategy == 2 && read_group(c, weights, "group_size", err) < 0) return -1;
  if (strategy == 3 && read_blocks(c, weights, "block_structure", err) < 0) return -1;
  if (strategy == 3 && !c->block_rows) return refuse(c, "block_structure", js_get(weights, "block_structure"), "two positive counts", err);
  return 0;
}

/* Rotations that are part of the stored weights need nothing; those of inputs and outputs would have to be computed with every product. */
static int check_transforms(const struct checkpoint *c, struct error *err) {
  const struct js *groups = js_get(js_get(c->config, "transform_config"), "config_groups");
  for (void *it = js_iter(groups); it; it = js_iter_next(groups, it)) {
    struct slice key, place;
    const struct js *group, *uses;
    js_iter_get(it, &key, &group);
    uses = js_get(group, "apply");
    for (size_t i = 0; i < js_len(uses); i++) {
      const struct js *location = js_get(js_at(uses, i), "location");
      if (js_str(location, &place) && (slice_eq(place, SLICE("weight_input")) || slice_eq(place, SLICE("weight_output")))) continue;
      return refuse(c, "transform_config: location", location, "\"weight_input\" and \"weight_output\"", err);
    }
  }
  return 0;
}

static int read_compressed(struct checkpoint *c, struct error *err) {
  static const char *const formats[] = {"dense", "pack-quantized", "int-quantized", "naive-quantized", "float-quantized", NULL};
  static const char known[] = "\"pack-quantized\", \"int-quantized\", \"naive-quantized\" and \"float-quantized\"";
  const struct js *groups = js_get(c->config, "config_groups"), *sparsity = js_get(js_get(c->config, "sparsity_config"), "format");
  struct slice text;
  size_t format, n = 0;
  if (present(sparsity) && !(js_str(sparsity, &text) && slice_eq(text, SLICE("dense"))))
    return refuse(c, "sparsity_config.format", sparsity, "\"dense\"", err);
  if (check_transforms(c, err) < 0 || read_word(c, c->config, "format", formats, known, &format, err) < 0) return -1;
  c->pack = format == 1;
  for (void *it = js_iter(groups); it; it = js_iter_next(groups, it)) {
    struct slice key;
    const struct js *group;
    js_iter_get(it, &key, &group);
    struct checkpoint before = *c;
    if (!present(js_get(group, "weights"))) continue; /* only activations or the cache */
    if (read_word(c, group, "format", formats, known, &format, err) < 0 || read_scheme(c, js_get(group, "weights"), err) < 0) return -1;
    if (present(js_get(group, "format"))) c->pack = format == 1;
    bool same = c->bits == before.bits && c->is_float == before.is_float && c->symmetric == before.symmetric &&
                c->group_size == before.group_size && c->block_rows == before.block_rows && c->block_cols == before.block_cols &&
                c->pack == before.pack;
    if (n++ && !same)
      return error_set(err, ERROR_UNSUPPORTED,
                       "%s: config_groups in %s holds groups whose weights are quantized in different ways; Plinth loads one way.",
                       c->file->path, c->where);
  }
  if (n == 0) return error_set(err, ERROR_UNSUPPORTED, "%s: config_groups in %s names no weights.", c->file->path, c->where);
  return 0;
}

static int read_method(struct checkpoint *c, struct error *err) {
  const struct js *v = js_get(c->config, "quant_method");
  struct slice name = {0};
  if (!present(v) && c->own) name = present(js_get(c->config, "w_bit")) ? SLICE("awq") : SLICE("gptq");
  else if (!js_str(v, &name)) return refuse(c, "quant_method", v, "gptq, awq, fp8, fbgemm_fp8 and compressed-tensors", err);
  if (slice_eq(name, SLICE("bitsandbytes")))
    return error_set(
        err, ERROR_UNSUPPORTED,
        "%s: quant_method in %s is \"bitsandbytes\", whose blocks only its own CUDA library defines. Take the original model, and make it "
        "small with `plinth quantize`.",
        c->file->path, c->where);
  static const struct {
    const char *name;
    enum method method;
    int (*read)(struct checkpoint *c, struct error *err);
  } methods[] = {{"gptq", METHOD_GPTQ, read_gptq},
                 {"awq", METHOD_AWQ, read_awq},
                 {"fp8", METHOD_FP8, read_fp8},
                 {"fbgemm_fp8", METHOD_FP8, read_fp8},
                 {"compressed-tensors", METHOD_COMPRESSED, read_compressed}};
  for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
    if (!slice_eq(name, slice_cstr(methods[i].name))) continue;
    c->method = methods[i].method;
    return methods[i].read(c, err);
  }
  return refuse(c, "quant_method", v, "gptq, awq, fp8, fbgemm_fp8 and compressed-tensors", err);
}

static int find_config(struct checkpoint *c, struct error *err) {
  if (c->file->container == FILE_GGUF) return 0;
  c->where = "quantization_config";
  c->config = js_get(c->file->config, c->where);
  if (!present(c->config)) c->config = js_get(c->file->config, c->where = "compression_config");
  if (!present(c->config)) {
    static const char *const files[] = {"quantize_config.json", "quant_config.json"}; /* of AutoGPTQ, of the first AWQ tools */
    for (size_t i = 0; !c->own && i < sizeof files / sizeof files[0]; i++)
      if (file_model_json(c->file, c->where = files[i], &c->own, err) < 0) return -1;
    c->config = c->own;
  }
  if (!present(c->config)) return 0;
  const struct js *inner = js_get(c->config, "quantization_config"); /* compression_config may hold the block once more */
  if (js_type(inner) == JS_OBJECT) c->config = inner;
  if (js_type(c->config) != JS_OBJECT) return error_set(err, ERROR_CORRUPT, "%s: %s is no object.", c->file->path, c->where);
  return read_method(c, err);
}

struct checkpoint *checkpoint_open(const struct file_model *file, struct error *err) {
  struct checkpoint *c = mem_zalloc(1, sizeof *c);
  c->file = file;
  if (find_config(c, err) == 0) return c;
  checkpoint_close(c);
  return NULL;
}

void checkpoint_close(struct checkpoint *c) {
  if (!c) return;
  js_free(c->own);
  free(c);
}

const char *checkpoint_method(const struct checkpoint *c) {
  static const char *const names[] = {NULL, "GPTQ", "AWQ", "FP8", "compressed-tensors"};
  return names[c->method];
}

/* ---- tensors ---- */

/* What stands where X.weight would, as X.qweight. */
static const char *stand_in(const struct checkpoint *c) {
  if (c->method == METHOD_GPTQ || c->method == METHOD_AWQ) return "qweight";
  return c->method == METHOD_COMPRESSED ? "weight_packed" : NULL;
}

static const struct file_tensor *beside(const struct checkpoint *c, struct slice base, const char *last) {
  struct buf name = {0};
  buf_add_slice(&name, base);
  buf_add_cstr(&name, last);
  const struct file_tensor *t = file_model_tensor(c->file, name.data);
  buf_free(&name);
  return t;
}

/* The name without "weight" ("X."); false for names of other ends. */
static bool base_of(const char *name, struct slice *out) {
  struct slice text = slice_cstr(name);
  if (!slice_ends(text, SLICE(".weight"))) return false;
  *out = slice_make(text.data, text.len - strlen("weight"));
  return true;
}

const struct file_tensor *checkpoint_witness(const struct checkpoint *c, const char *name) {
  struct slice base;
  const struct file_tensor *t = file_model_tensor(c->file, name);
  return t || !stand_in(c) || !base_of(name, &base) ? t : beside(c, base, stand_in(c));
}

/* One matrix under way. */
struct taking {
  const struct checkpoint *c;
  struct slice base; /* "X." */
  struct checkpoint_matrix m;
  bool any_order; /* the columns may come in another one */
  struct error *err;
};

static int tensor_error(const struct taking *t, const char *last, const char *what) {
  return error_set(t->err, ERROR_CORRUPT, "%s: the tensor %.*s%s %s.", t->c->file->path, SLICE_ARG(t->base), last, what);
}

/* The tensor "X.last" with that type and shape; NULL with an error. */
static const struct file_tensor *take(const struct taking *t, const char *last, enum dtype dtype, uint64_t rows, uint64_t cols) {
  const struct file_tensor *found = beside(t->c, t->base, last);
  if (!found) {
    tensor_error(t, last, "is missing");
  } else if (found->dtype != dtype || found->rank != 2 || found->shape[0] != rows || found->shape[1] != cols) {
    char what[160];
    snprintf(what, sizeof what, "must be of the type %s with the shape [%llu, %llu], by the quantization's settings",
             dtype_info(dtype)->name, (unsigned long long)rows, (unsigned long long)cols);
    tensor_error(t, last, what);
  } else {
    return found;
  }
  return NULL;
}

static uint64_t words_of(uint64_t n, int bits) { return (n * (uint64_t)bits + 31) / 32; }

static int take_scales(struct taking *t, const char *last, const struct file_tensor *s) {
  bool is_float = s->dtype == DTYPE_F16 || s->dtype == DTYPE_BF16 || s->dtype == DTYPE_F32;
  if (!is_float) return tensor_error(t, last, "must be of the type F16, BF16 or F32");
  t->m.scales = malloc(s->n_elements * sizeof(float) + 64);
  if (!t->m.scales) return error_set(t->err, ERROR_NO_MEMORY, "%s: there is no memory for scales.", t->c->file->path);
  dtype_to_f32(s->dtype, s->data, t->m.scales, s->n_elements);
  return 0;
}

/* Scales of shape [groups, out], as GPTQ and AWQ have them. */
static int take_scales_down(struct taking *t) {
  const struct file_tensor *s = beside(t->c, t->base, "scales");
  if (!s) return tensor_error(t, "scales", "is missing");
  if (s->rank != 2 || s->shape[0] != t->m.n_groups || s->shape[1] != t->m.n_out)
    return tensor_error(t, "scales", "must have the shape [groups, outputs]");
  t->m.row_block = 1, t->m.row_stride = 1, t->m.group_stride = t->m.n_out;
  return take_scales(t, "scales", s);
}

static int take_g_idx(struct taking *t, const char *last) {
  const struct file_tensor *g = beside(t->c, t->base, last);
  if (!g) return 0;
  if (g->dtype != DTYPE_I32 || g->rank != 1 || g->shape[0] != t->m.n_in) return tensor_error(t, last, "must hold one I32 for each input");
  for (size_t i = 0; i < t->m.n_in; i++) {
    int32_t group;
    memcpy(&group, (const unsigned char *)g->data + 4 * i, sizeof group);
    if (group < 0 || (size_t)group >= t->m.n_groups) return tensor_error(t, last, "names a group that does not exist");
  }
  t->m.g_idx = g->data;
  return 0;
}

static void set_groups(struct taking *t) {
  t->m.group_size = t->c->group_size ? t->c->group_size : t->m.n_in;
  t->m.n_groups = (t->m.n_in + t->m.group_size - 1) / t->m.group_size;
}

static int take_gptq(struct taking *t, const struct file_tensor *q) {
  if (q->dtype != DTYPE_I32 || q->rank != 2) return tensor_error(t, "qweight", "must be a matrix of I32");
  int bits = t->m.bits = t->c->bits;
  t->m.n_out = (size_t)q->shape[1];
  t->m.n_in = (size_t)(q->shape[0] * 32 / (uint64_t)bits);
  if (!t->m.n_in || !t->m.n_out || words_of(t->m.n_in, bits) != q->shape[0])
    return tensor_error(t, "qweight", "has rows that do not fill whole words");
  set_groups(t);
  const struct file_tensor *z = take(t, "qzeros", DTYPE_I32, t->m.n_groups, words_of(t->m.n_out, bits));
  if (!z) return -1;
  t->m.order = CHECKPOINT_DOWN, t->m.q = q->data;
  t->m.zeros = CHECKPOINT_ZERO_ACROSS, t->m.z = z->data, t->m.zero_added = !t->c->v2;
  return take_g_idx(t, "g_idx") < 0 ? -1 : take_scales_down(t);
}

static int take_awq(struct taking *t, const struct file_tensor *q) {
  if (q->dtype != DTYPE_I32 || q->rank != 2 || !q->shape[0] || !q->shape[1]) return tensor_error(t, "qweight", "must be a matrix of I32");
  t->m.bits = 4;
  t->m.n_in = (size_t)q->shape[0];
  t->m.n_out = (size_t)q->shape[1] * 8;
  set_groups(t);
  const struct file_tensor *z = take(t, "qzeros", DTYPE_I32, t->m.n_groups, q->shape[1]);
  if (!z) return -1;
  t->m.order = CHECKPOINT_AWQ, t->m.q = q->data;
  t->m.zeros = CHECKPOINT_ZERO_AWQ, t->m.z = z->data;
  return take_scales_down(t);
}

/* Whether there is one scale for each block of rows x cols; if so, they are taken that way. */
static bool take_blocks(struct checkpoint_matrix *m, const struct file_tensor *s, size_t rows, size_t cols) {
  uint64_t down = (m->n_out + rows - 1) / rows, across = (m->n_in + cols - 1) / cols;
  if (s->rank != 2 || s->shape[0] != down || s->shape[1] != across) return false;
  m->row_block = rows, m->row_stride = (size_t)across, m->group_stride = 1;
  m->group_size = cols, m->n_groups = (size_t)across;
  return true;
}

/* Scales of one tensor, one for each output, blocks, or [out, groups]: their shape and the settings say which. FP8 settings that do not name
 * blocks mean those of 128 x 128, as in transformers. */
static int take_scales_beside(struct taking *t, const char *last, const struct file_tensor *s) {
  const struct checkpoint *c = t->c;
  struct checkpoint_matrix *m = &t->m;
  m->row_block = 1;
  if (c->block_rows) {
    if (!take_blocks(m, s, c->block_rows, c->block_cols)) return tensor_error(t, last, "must have one scale for each block");
  } else if (s->n_elements == 1) {
    m->row_stride = m->group_stride = 0;
  } else if (s->n_elements == m->n_out && s->shape[0] == m->n_out && m->n_groups == 1) {
    m->row_stride = 1;
  } else if (s->rank == 2 && s->shape[0] == m->n_out && s->shape[1] == m->n_groups) {
    m->row_stride = m->n_groups, m->group_stride = 1;
  } else if (c->method != METHOD_FP8 || !take_blocks(m, s, FP8_BLOCK, FP8_BLOCK)) {
    return tensor_error(t, last, "has a shape that does not fit its matrix");
  }
  return take_scales(t, last, s);
}

/* 8-bit values under X.weight itself. */
static int take_bytes(struct taking *t, const struct file_tensor *w) {
  const char *last = "weight_scale_inv";
  const struct file_tensor *s = beside(t->c, t->base, last);
  if (!s) s = beside(t->c, t->base, last = "weight_scale");
  if (!s) return tensor_error(t, last, "is missing");
  if (w->rank != 2 || !w->n_elements) return tensor_error(t, "weight", "must be a matrix");
  t->m.bits = 8;
  t->m.n_out = (size_t)w->shape[0];
  t->m.n_in = (size_t)w->shape[1];
  t->m.q = w->data;
  t->m.dtype = w->dtype;
  t->m.order = w->dtype == DTYPE_I8 ? CHECKPOINT_BYTES : CHECKPOINT_FLOATS;
  set_groups(t);
  if (take_scales_beside(t, last, s) < 0) return -1;
  if (t->c->symmetric || t->c->method != METHOD_COMPRESSED || w->dtype != DTYPE_I8) return 0;
  if (t->c->block_rows) return tensor_error(t, "weight", "has zero points by blocks, which Plinth cannot load");
  const struct file_tensor *z = beside(t->c, t->base, "weight_zero_point");
  if (z && s->n_elements == 1 && z->n_elements == 1 && z->dtype == DTYPE_I8) {
    t->m.zero = *(const int8_t *)z->data;
    return 0;
  }
  if (!(z = take(t, "weight_zero_point", DTYPE_I8, t->m.n_out, t->m.n_groups))) return -1;
  t->m.zeros = CHECKPOINT_ZERO_BYTES, t->m.z = z->data;
  return 0;
}

static int take_shape(struct taking *t) {
  const struct file_tensor *s = beside(t->c, t->base, "weight_shape");
  if (!s || s->n_elements != 2 || (s->dtype != DTYPE_I64 && s->dtype != DTYPE_I32))
    return tensor_error(t, "weight_shape", "must hold two I64: outputs and inputs");
  float size[2];
  dtype_to_f32(s->dtype, s->data, size, 2); /* sizes below 2^24 are exact */
  if (!(size[0] >= 1 && size[1] >= 1 && size[0] <= 1 << 24 && size[1] <= 1 << 24))
    return tensor_error(t, "weight_shape", "holds impossible sizes");
  t->m.n_out = (size_t)size[0];
  t->m.n_in = (size_t)size[1];
  return 0;
}

static int take_packed(struct taking *t, const struct file_tensor *q) {
  int bits = t->m.bits = t->c->bits;
  if (!t->c->pack || t->c->is_float)
    return tensor_error(t, "weight_packed", "is there, but the quantization's format is not \"pack-quantized\"");
  if (take_shape(t) < 0) return -1;
  if (q->dtype != DTYPE_I32 || q->rank != 2 || q->shape[0] != t->m.n_out || q->shape[1] != words_of(t->m.n_in, bits))
    return tensor_error(t, "weight_packed", "does not fit weight_shape");
  set_groups(t);
  t->m.order = CHECKPOINT_ACROSS, t->m.q = q->data, t->m.zero = 1 << (bits - 1);
  const struct file_tensor *s = beside(t->c, t->base, "weight_scale");
  if (!s) return tensor_error(t, "weight_scale", "is missing");
  if (t->c->block_rows) return tensor_error(t, "weight_packed", "has scales by blocks, which Plinth cannot load");
  if (take_g_idx(t, "weight_g_idx") < 0 || take_scales_beside(t, "weight_scale", s) < 0) return -1;
  if (t->c->symmetric) return 0;
  const struct file_tensor *z = take(t, "weight_zero_point", DTYPE_I32, words_of(t->m.n_out, bits), t->m.n_groups);
  if (!z) return -1;
  t->m.zeros = CHECKPOINT_ZERO_DOWN, t->m.z = z->data;
  return 0;
}

static int unpack(struct taking *t, const struct file_tensor *from, struct pool *pool, struct checkpoint_tensor *out) {
  enum dtype dtype;
  uint32_t *order = NULL;
  void *data = checkpoint_unpack(&t->m, pool, &dtype, t->any_order ? &order : NULL);
  if (!data)
    return error_set(t->err, ERROR_NO_MEMORY, "%s: there is no memory to unpack a matrix of %zu x %zu values.", t->c->file->path,
                     t->m.n_out, t->m.n_in);
  struct file_tensor view = {.name = from->name, .dtype = dtype, .rank = 2, .shape = {t->m.n_out, t->m.n_in}, .data = data};
  view.n_elements = (uint64_t)t->m.n_out * t->m.n_in;
  dtype_bytes(dtype, view.n_elements, &view.n_bytes);
  *out = (struct checkpoint_tensor){.view = view, .owned = data, .in_order = order};
  return 0;
}

static int read_tensor(const struct checkpoint *c, const char *name, bool any_order, struct pool *pool, struct checkpoint_tensor *out,
                       struct error *err) {
  struct taking t = {.c = c, .any_order = any_order, .err = err};
  const struct file_tensor *plain = file_model_tensor(c->file, name), *packed = NULL;
  bool is_weight = c->method && base_of(name, &t.base);
  bool bytes = plain && (plain->dtype == DTYPE_F8_E4M3 || plain->dtype == DTYPE_F8_E5M2 || plain->dtype == DTYPE_I8);
  if (!plain && is_weight && stand_in(c)) packed = beside(c, t.base, stand_in(c));
  if (!packed && !(bytes && is_weight)) {
    if (!plain) return 0;
    *out = (struct checkpoint_tensor){.view = *plain};
    return 1;
  }
  int taken = !packed                    ? take_bytes(&t, plain)
              : c->method == METHOD_GPTQ ? take_gptq(&t, packed)
              : c->method == METHOD_AWQ  ? take_awq(&t, packed)
                                         : take_packed(&t, packed);
  if (taken == 0) taken = unpack(&t, packed ? packed : plain, pool, out);
  free(t.m.scales);
  return taken < 0 ? -1 : 1;
}

int checkpoint_read(const struct checkpoint *c, const char *name, struct pool *pool, struct checkpoint_tensor *out, struct error *err) {
  return read_tensor(c, name, false, pool, out, err);
}

int checkpoint_read_ordered(const struct checkpoint *c, const char *name, struct pool *pool, struct checkpoint_tensor *out,
                            struct error *err) {
  return read_tensor(c, name, true, pool, out, err);
}

/* ---- stacks of experts ---- */

/* The scales of one expert: of the whole, of its two halves (gate and up, quantized apart), or by blocks of all its rows or of each half. */
static int take_expert_scales(struct taking *t, const char *last, const struct file_tensor *s, const struct checkpoint_rows *r) {
  const struct checkpoint *c = t->c;
  size_t R = r->rows_per_expert, expert = r->begin / R, first = r->begin % R;
  size_t b0 = c->block_rows ? c->block_rows : R, b1 = c->block_cols ? c->block_cols : r->columns;
  size_t all = (R + b0 - 1) / b0, half = R % 2 ? 0 : 2 * ((R / 2 + b0 - 1) / b0), cols = (r->columns + b1 - 1) / b1;
  uint64_t so = s->rank > 1 ? s->shape[1] : 1, si = s->rank > 2 ? s->shape[2] : 1;
  bool within_half = half && first / (R / 2) == (first + r->n - 1) / (R / 2), by_half = so == half && so != all && within_half;
  bool plain = so == all && (so != half || !within_half || R / 2 % b0 == 0);
  if (!s->rank || s->shape[0] <= expert || s->n_elements != s->shape[0] * so * si || si != cols || !(plain || by_half))
    return tensor_error(t, last, "has a shape that does not fit the experts' matrices and the quantization's settings");
  if (take_scales(t, last, s) < 0) return -1;
  t->m.row_block = b0, t->m.row_stride = cols, t->m.group_stride = 1;
  t->m.group_size = b1, t->m.n_groups = cols;
  t->m.row_first = by_half ? first % (R / 2) : first;
  size_t skip = (expert * (size_t)so + (by_half ? first / (R / 2) * (half / 2) : 0)) * cols;
  memmove(t->m.scales, t->m.scales + skip, ((size_t)s->n_elements - skip) * sizeof *t->m.scales);
  return 0;
}

int checkpoint_read_rows(const struct checkpoint *c, const struct file_tensor *t, const struct checkpoint_rows *rows, struct pool *pool,
                         struct checkpoint_tensor *out, struct error *err) {
  struct taking taking = {.c = c, .base = t->name, .err = err};
  struct checkpoint_matrix *m = &taking.m;
  bool is_float8 = t->dtype == DTYPE_F8_E4M3 || t->dtype == DTYPE_F8_E5M2;
  if (!is_float8 || !c->is_float)
    return error_set(err, ERROR_UNSUPPORTED,
                     "%s: the tensor %.*s stacks the matrices of all experts in the type %s, and the method in %s is %s; stacked "
                     "experts are known in 8-bit floats with scales (fp8) only. Take a checkpoint with a tensor for each expert.",
                     c->file->path, SLICE_ARG(t->name), dtype_info(t->dtype)->name, c->where ? c->where : "config.json",
                     checkpoint_method(c) ? checkpoint_method(c) : "not named");
  const char *last = "_scale_inv";
  const struct file_tensor *s = beside(c, t->name, last);
  if (!s) s = beside(c, t->name, last = "_scale");
  if (!s) return tensor_error(&taking, last, "is missing");
  *m = (struct checkpoint_matrix){.n_out = rows->n, .n_in = rows->columns, .order = CHECKPOINT_FLOATS, .bits = 8, .dtype = t->dtype};
  m->q = (const unsigned char *)t->data + rows->begin * rows->columns;
  int result = take_expert_scales(&taking, last, s, rows);
  if (result == 0) result = unpack(&taking, t, pool, out);
  free(m->scales);
  return result;
}

void checkpoint_release(struct checkpoint_tensor *t) {
  free(t->owned);
  free(t->in_order);
  *t = (struct checkpoint_tensor){0};
}

uint64_t checkpoint_parameters(const struct checkpoint *c, const struct file_tensor *t) {
  static const char *const helpers[] = {".qzeros",      "_scale", ".scales", ".g_idx", "_scale_inv", ".weight_shape", ".weight_zero_point",
                                        ".weight_g_idx"};
  if (!c->method) return t->n_elements;
  for (size_t i = 0; i < sizeof helpers / sizeof helpers[0]; i++)
    if (slice_ends(t->name, slice_cstr(helpers[i]))) return 0;
  bool packed = slice_ends(t->name, SLICE(".qweight")) || slice_ends(t->name, SLICE(".weight_packed"));
  return packed && c->bits ? t->n_elements * 32 / (uint64_t)c->bits : t->n_elements;
}
