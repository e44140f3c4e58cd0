/* about: see about.h. SPDX-License-Identifier: Apache-2.0 */
#include "app/about.h"

#include <stdlib.h>

#include "app/paths.h"
#include "base/utf8.h"

static size_t n_tensors(const struct file_model *file) {
  return file->gguf ? gguf_n_tensors(file->gguf) : file->tensors ? safetensors_n_tensors(file->tensors) : 0;
}

const struct file_tensor *about_tensor_at(const struct about *a, size_t i) {
  return a->file->gguf ? gguf_tensor_at(a->file->gguf, i) : safetensors_tensor_at(a->file->tensors, i);
}

static void add_saturated(uint64_t *sum, uint64_t n) {
  if (__builtin_add_overflow(*sum, n, sum)) *sum = UINT64_MAX;
}

static void count(struct about *a) {
  a->n_tensors = n_tensors(a->file);
  for (size_t i = 0; i < a->n_tensors; i++) {
    const struct file_tensor *t = about_tensor_at(a, i);
    add_saturated(&a->n_parameters, t->n_elements);
    a->tensor_bytes += t->n_bytes; /* they lie in files without overlap */
    a->bytes_of[t->dtype] += t->n_bytes;
  }
  a->file_bytes = a->file->gguf ? gguf_bytes(a->file->gguf) : a->file->tensors ? safetensors_bytes(a->file->tensors) : 0;
}

static void read_text(struct about *a) {
  a->tokenizer = tokenizer_open(a->file, &a->no_tokenizer);
  struct chat_template *t = a->tokenizer ? chat_template_open(a->file, a->tokenizer, &a->broken_template) : NULL;
  if (t) a->chat_template = ABOUT_TEMPLATE_OK;
  else if (a->tokenizer && a->broken_template.code != ERROR_NOT_FOUND) a->chat_template = ABOUT_TEMPLATE_BROKEN;
  chat_template_close(t);
}

int about_open(struct about *a, const char *path, enum kv_type kv, struct error *err) {
  *a = (struct about){0};
  a->file = file_model_open(path, err);
  if (!a->file) return -1;
  a->name = paths_model_name(path);
  count(a);
  if (a->n_tensors == 0) error_set(&a->unknown, ERROR_UNSUPPORTED, "%s holds a vocabulary and no weights.", a->file->path);
  else a->known = model_inspect(a->file, &a->info, &a->unknown) == 0;
  if (a->known) a->known = model_memory(a->file, &a->info, COMPUTE_FAST, &a->packed_bytes, &a->unknown) == 0;
  uint64_t pages = (model_kv_positions(&a->info, 0, a->info.context_tokens) + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
  a->kv = kv;
  a->kv_bytes_per_token = a->known ? model_kv_bytes_per_token(&a->info, kv) : 0;
  if (__builtin_mul_overflow(pages * KV_PAGE_TOKENS, a->kv_bytes_per_token, &a->context_kv_bytes)) a->context_kv_bytes = UINT64_MAX;
  read_text(a);
  return 0;
}

void about_close(struct about *a) {
  tokenizer_close(a->tokenizer);
  file_model_close(a->file);
  free(a->name);
  *a = (struct about){0};
}

const char *about_trouble(const struct about *a) {
  if (!a->known) return a->unknown.message;
  if (!a->tokenizer) return a->no_tokenizer.message;
  return a->chat_template == ABOUT_TEMPLATE_BROKEN ? a->broken_template.message : NULL;
}

const char *about_task(const struct about *a) {
  if (!a->known) return "-";
  if (a->info.task == MODEL_EMBED) return "embeddings";
  return a->chat_template == ABOUT_TEMPLATE_NONE ? "completions" : "chat";
}

/* ---- text for people ---- */

void about_add_text(struct buf *out, struct slice text) {
  while (text.len) {
    uint32_t c;
    size_t len = utf8_get(text, &c);
    if (len && c >= 0x20 && (c < 0x7F || c >= 0xA0)) buf_add(out, text.data, len);
    else buf_add_byte(out, '?');
    text = slice_from(text, len ? len : utf8_invalid_len(text));
  }
}

void about_add_count(struct buf *out, uint64_t n) {
  if (n >= 1000) {
    about_add_count(out, n / 1000);
    buf_printf(out, ",%03u", (unsigned)(n % 1000));
  } else {
    buf_printf(out, "%u", (unsigned)n);
  }
}

void about_add_bytes(struct buf *out, uint64_t bytes) {
  static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = (double)bytes / 1024;
  size_t unit = 0;
  while (value >= 1023.95 && unit < 5) value /= 1024, unit++;
  if (bytes < 1024) buf_printf(out, "%u bytes", (unsigned)bytes);
  else buf_printf(out, "%.1f %s", value, units[unit]);
}
