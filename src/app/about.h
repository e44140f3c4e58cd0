/* about: what can be told of a model on disk without loading it. SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_ABOUT_H
#define APP_ABOUT_H
#include "model/model.h"
#include "text/text.h"

enum about_template { ABOUT_TEMPLATE_NONE, ABOUT_TEMPLATE_OK, ABOUT_TEMPLATE_BROKEN };

struct about {
  char *name; /* of its endpoint */
  struct file_model *file;
  uint64_t file_bytes; /* of the .gguf or .safetensors files */
  size_t n_tensors;    /* 0: a vocabulary only */
  uint64_t n_parameters;
  uint64_t tensor_bytes, bytes_of[DTYPE_COUNT]; /* as stored */
  bool known;                                   /* info is filled */
  struct model_info info;
  struct error unknown;        /* why Plinth cannot run it, when !known */
  struct tokenizer *tokenizer; /* NULL: no_tokenizer says why */
  struct error no_tokenizer;
  enum about_template chat_template;
  struct error broken_template;
  uint64_t packed_bytes;                         /* weights in the layout that compute mode "fast" uses; when known */
  enum kv_type kv;                               /* what the next two are told of */
  uint64_t kv_bytes_per_token, context_kv_bytes; /* KV pages of one full context; 0 for encoders */
};

/* Fails only when the file or folder is no readable model file at all; what else is wrong is told in the struct. */
int about_open(struct about *a, const char *path, enum kv_type kv, struct error *err);
void about_close(struct about *a);
/* NULL when the model can be served; else a sentence that says why not. */
const char *about_trouble(const struct about *a);
/* "chat", "completions" or "embeddings"; "-" when not known. */
const char *about_task(const struct about *a);
const struct file_tensor *about_tensor_at(const struct about *a, size_t i);

/* Text for people. about_add_text: control characters, which a file may hold to play with a terminal, become '?'. */
void about_add_text(struct buf *out, struct slice text);
void about_add_count(struct buf *out, uint64_t n);     /* 49,152 */
void about_add_bytes(struct buf *out, uint64_t bytes); /* 93.8 MiB */

#endif
