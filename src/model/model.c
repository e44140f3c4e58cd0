/* model: picks the architecture of a file and holds what all share; see model.h. SPDX-License-Identifier: Apache-2.0 */
#include "model/model.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/js.h"
#include "base/mem.h"
#include "model/arch.h"

enum { ROWS_DEFAULT = 512, OUT_ROWS_DEFAULT = 64 };

static const struct model_arch *const archs[] = {&llama_arch, &llama_mistral_arch, &llama_mixtral_arch, &mpt_arch,
                                                 &dbrx_arch,  &bert_arch,          &gte_arch,           &gte_new_arch};
enum { N_ARCHS = sizeof archs / sizeof archs[0] };

/* The name that the file gives to its architecture. */
static int arch_name(const struct file_model *file, struct slice *name, struct error *err) {
  if (file->container == FILE_GGUF) {
    if (gguf_str(file->gguf, "general.architecture", name)) return 0;
    return error_set(err, ERROR_CORRUPT, "%s: the key general.architecture is missing.", file->path);
  }
  if (js_str(js_get(file->config, "model_type"), name)) return 0;
  return error_set(err, ERROR_CORRUPT, "%s: config.json has no model_type.", file->path);
}

const struct model_arch *model__arch(const struct file_model *file, struct error *err) {
  struct slice name;
  if (arch_name(file, &name, err) < 0) return NULL;
  for (size_t i = 0; i < N_ARCHS; i++) {
    const char *known = file->container == FILE_GGUF ? archs[i]->gguf_name : archs[i]->hf_model_type;
    if (known && slice_eq(name, slice_cstr(known))) return archs[i];
  }
  struct buf known = {0};
  for (size_t i = 0; i < N_ARCHS; i++) {
    const char *one = file->container == FILE_GGUF ? archs[i]->gguf_name : archs[i]->hf_model_type;
    if (one) buf_printf(&known, "%s%s", known.len ? ", " : "", one);
  }
  error_set(err, ERROR_UNSUPPORTED, "%s: the architecture \"%.*s\" (%s) is not supported; Plinth knows %s.", file->path, SLICE_ARG(name),
            file->container == FILE_GGUF ? "general.architecture" : "model_type in config.json", known.data);
  buf_free(&known);
  return NULL;
}

static size_t n_tensors(const struct file_model *file) {
  return file->container == FILE_GGUF ? gguf_n_tensors(file->gguf) : safetensors_n_tensors(file->tensors);
}

static const struct file_tensor *tensor_at(const struct file_model *file, size_t i) {
  return file->container == FILE_GGUF ? gguf_tensor_at(file->gguf, i) : safetensors_tensor_at(file->tensors, i);
}

/* Counts over the tensor list: parameters, bytes, and the type that holds most of the bytes. */
static void count_tensors(const struct file_model *file, const struct checkpoint *c, struct model_info *info) {
  uint64_t bytes_of[DTYPE_COUNT] = {0};
  for (size_t i = 0; i < n_tensors(file); i++) {
    const struct file_tensor *t = tensor_at(file, i);
    info->n_parameters += checkpoint_parameters(c, t);
    info->weight_bytes += t->n_bytes;
    bytes_of[t->dtype] += t->n_bytes;
  }
  /* The output head is often kept in a wider type: what the layers are stored in is what a model is called by. */
  if (file->container == FILE_GGUF)
    for (const char *const *name = (const char *const[]){"token_embd.weight", "output.weight", NULL}; *name; name++) {
      const struct file_tensor *t = gguf_tensor(file->gguf, *name);
      if (t && bytes_of[t->dtype] < info->weight_bytes) bytes_of[t->dtype] -= t->n_bytes;
    }
  int most = 0;
  for (int i = 1; i < DTYPE_COUNT; i++)
    if (bytes_of[i] > bytes_of[most]) most = i;
  const char *method = checkpoint_method(c);
  snprintf(info->quantization, sizeof info->quantization, "%s", method ? method : dtype_info((enum dtype)most)->name);
}

/* Fills info; returns the tensors of the file, to be closed, or NULL. */
static struct checkpoint *inspect(const struct file_model *file, const struct model_arch *arch, struct model_info *info,
                                  struct error *err) {
  *info = (struct model_info){0};
  snprintf(info->architecture, sizeof info->architecture, "%s", arch->name);
  struct slice name = {0};
  if (file->container == FILE_GGUF) gguf_str(file->gguf, "general.name", &name);
  else js_str(js_get(file->config, "_name_or_path"), &name);
  snprintf(info->name, sizeof info->name, "%.*s", SLICE_ARG(name));
  struct checkpoint *c = checkpoint_open(file, err);
  if (!c) return NULL;
  count_tensors(file, c, info);
  if (arch->inspect(file, info, err) == 0) return c;
  checkpoint_close(c);
  return NULL;
}

int model_supports(const struct file_model *file, struct error *err) { return model__arch(file, err) ? 0 : -1; }

int model_inspect(const struct file_model *file, struct model_info *info, struct error *err) {
  const struct model_arch *arch = model__arch(file, err);
  struct checkpoint *c = arch ? inspect(file, arch, info, err) : NULL;
  checkpoint_close(c);
  return c ? 0 : -1;
}

int model_memory(const struct file_model *file, const struct model_info *info, enum compute_mode mode, uint64_t *ret_bytes,
                 struct error *err) {
  struct checkpoint *c = checkpoint_open(file, err);
  if (!c) return -1;
  *ret_bytes = plan_memory_bytes(file, c, info, mode);
  checkpoint_close(c);
  return 0;
}

/* Large memory is admitted before it is used: without this the kernel would end the process in the middle of packing. */
static int admit(const struct file_model *file, const struct checkpoint *c, const struct model_info *info, enum compute_mode mode,
                 uint64_t reserved, struct error *err) {
  uint64_t need = plan_memory_bytes(file, c, info, mode), have = mem_available_bytes();
  bool bound = checkpoint_method(c) != NULL; /* the plan says more than is needed */
  have = have > reserved ? have - reserved : 0;
  if (bound || need <= have) return 0;
  if (reserved)
    return error_set(
        err, ERROR_NO_MEMORY,
        "%s: the weights need %llu MiB of memory, but %llu MiB are free besides the %llu MiB that loaded models and the KV memory "
        "may take. Unload a model, lower --kv-mib, or take a smaller quantization.",
        file->path, (unsigned long long)(need >> 20), (unsigned long long)(have >> 20), (unsigned long long)(reserved >> 20));
  return error_set(err, ERROR_NO_MEMORY,
                   "%s: the weights need %llu MiB of memory, but %llu MiB are free. Free some, or take a smaller quantization.", file->path,
                   (unsigned long long)(need >> 20), (unsigned long long)(have >> 20));
}

uint64_t model_kv_positions(const struct model_info *info, size_t rows_max, uint64_t n_tokens) {
  uint64_t held =
      (uint64_t)info->window_tokens + (rows_max ? rows_max : ROWS_DEFAULT) + KV_PAGE_TOKENS; /* the window begins within a page */
  return info->window_tokens && held < n_tokens ? held : n_tokens;
}

uint64_t model_kv_bytes_per_token(const struct model_info *info, enum kv_type type) {
  if (info->task != MODEL_GENERATE) return 0;
  return 2 * (uint64_t)info->n_layers * info->n_kv_heads * kv_row_bytes(kv_type_dtype(type, COMPUTE_FAST), info->head_dim);
}

struct model *model_load(const struct file_model *file, struct compute *c, const struct model_options *options, struct error *err) {
  const struct model_arch *arch = model__arch(file, err);
  struct model_info info;
  struct checkpoint *tensors = arch ? inspect(file, arch, &info, err) : NULL;
  struct model_options filled = options ? *options : (struct model_options){0};
  int admitted = tensors ? admit(file, tensors, &info, compute_mode_of(c), filled.reserved_bytes, err) : -1;
  checkpoint_close(tensors);
  if (admitted < 0) return NULL;
  if (!filled.packer) filled.packer = c;
  if (!filled.rows_max) filled.rows_max = ROWS_DEFAULT;
  if (!filled.out_rows_max) filled.out_rows_max = OUT_ROWS_DEFAULT;
  if (filled.rows_max < info.context_tokens && info.task == MODEL_EMBED) filled.rows_max = info.context_tokens;
  filled.kept = kept_begin(filled.kept_dir, file, compute_mode_of(c), filled.mapped);
  struct model *m = arch->load(file, &info, c, &filled, err);
  if (!m) {
    kept_end(filled.kept);
    kept_free(filled.kept);
    return NULL;
  }
  m->kept = filled.kept;
  kept_work(m->kept, filled.reserved_bytes);
  m->arch = arch;
  m->info = info;
  m->compute = c;
  m->kv = filled.kv;
  m->rows_max = filled.rows_max;
  m->out_rows_max = filled.out_rows_max;
  return m;
}

void model_free(struct model *m) {
  if (!m) return;
  struct kept *kept = m->kept;
  kept_end(kept);
  m->arch->free(m);
  kept_free(kept);
}

const struct model_info *model_info(const struct model *m) { return &m->info; }
struct compute *model_compute(const struct model *m) { return m->compute; }
size_t model_rows_max(const struct model *m) { return m->rows_max; }
size_t model_out_rows_max(const struct model *m) { return m->out_rows_max; }
size_t model_weight_bytes(const struct model *m) { return m->weight_bytes; }
size_t model_stream_bytes(const struct model *m) { return m->stream_bytes; }

double model_read_bytes(const struct model *m, size_t n_rows) {
  double dense = (double)(m->stream_bytes - m->expert_bytes);
  if (m->expert_bytes == 0) return dense;
  double used = (double)m->info.n_experts_used / (double)m->info.n_experts; /* by one row */
  return dense + (double)m->expert_bytes / used * (1 - pow(1 - used, (double)n_rows));
}

double model_operations(const struct model *m, size_t n_rows, size_t n_out_rows) {
  return (double)n_rows * m->row_operations + (double)n_out_rows * m->out_row_operations;
}

struct kv_layout model_kv_layout(const struct model *m) {
  return kv_layout_make(m->info.n_layers, m->info.n_kv_heads, m->info.head_dim, kv_type_dtype(m->kv, compute_mode_of(m->compute)));
}

void model_forward(struct model *m, const struct model_batch *batch) {
  assert(m->arch->forward && batch->n_rows > 0 && batch->n_rows <= m->rows_max && batch->n_out_rows <= m->out_rows_max);
  for (size_t i = 0; i < batch->n_rows; i++) assert(batch->tokens[i] >= 0 && (size_t)batch->tokens[i] < m->info.n_vocab);
  kept_take(m->kept);
  m->arch->forward(m, batch);
}

const float *model__hidden(const struct model *m) { return m->arch->hidden(m); }

void model_embed(struct model *m, const int32_t *tokens, const size_t *offset, size_t n, float *out) {
  assert(m->arch->embed && offset[n] <= m->rows_max);
  for (size_t i = 0; i < offset[n]; i++) assert(tokens[i] >= 0 && (size_t)tokens[i] < m->info.n_vocab);
  kept_take(m->kept);
  m->arch->embed(m, tokens, offset, n, out);
}
