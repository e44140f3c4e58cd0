/* convert: what a model would hold as GGUF, whatever container it has: names, layouts, values. SPDX-License-Identifier: Apache-2.0
 * Names and layouts of each family: doc/format/gguf.md, "Out of a Hugging Face folder". */
#ifndef APP_CONVERT_H
#define APP_CONVERT_H
#include "model/model.h"
#include "text/text.h"

enum convert_how {
  CONVERT_ROWS,    /* as they are; several sources stand one below the other */
  CONVERT_PERMUTE, /* the rows of each head from halves to pairs */
  CONVERT_TURN,    /* each matrix of the stack transposed */
  CONVERT_UPPER,   /* of each matrix of the stack the upper half of the rows */
  CONVERT_LOWER,   /* the lower half */
};

/* A tensor of the GGUF file. */
struct convert_tensor {
  char *name;     /* owned, as all strings here */
  char **sources; /* names in the source */
  size_t n_sources;
  enum convert_how how;
  size_t heads;                  /* CONVERT_PERMUTE */
  unsigned rank;                 /* 1 to 3 */
  uint64_t shape[FILE_RANK_MAX]; /* outermost first */
  const float *values;           /* computed here: no source */
};

struct convert {
  const struct file_model *file; /* borrowed */
  struct checkpoint *checkpoint;
  struct model_info info;
  struct convert_tensor *tensors;
  size_t n_tensors;
  float *rope_divisors; /* or NULL */
};

/* Plans every tensor and checks that each one of the source has its place. A family that GGUF has no place for is refused. */
int convert_open(struct convert *c, const struct file_model *file, struct error *err);
void convert_close(struct convert *c); /* fine on {0} */
/* The keys, but those about the quantization. tokenizer: of the source, or NULL when it has none. */
int convert_values(const struct convert *c, const struct tokenizer *tokenizer, struct gguf_writer *w, struct error *err);

/* Receives n rows of the tensor, in order; 0 to go on. */
typedef int convert_fn(void *ctx, const float *rows, size_t n, size_t columns, struct error *err);
int convert_rows(const struct convert *c, const struct convert_tensor *t, struct pool *pool, convert_fn *fn, void *ctx, struct error *err);

/* convert_tokenizer.c: the tokenizer's keys out of tokenizer.json or a vocabulary file; n_vocab rows has the embedding. */
int convert_tokenizer(const struct file_model *file, const struct tokenizer *tokenizer, size_t n_vocab, struct gguf_writer *w,
                      struct error *err);

#endif
