/* local: a model loaded into this process, for the subcommands that run an engine of their own. SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_LOCAL_H
#define APP_LOCAL_H
#include "engine/engine.h"
#include "text/text.h"

struct local_options {
  const char *model;             /* FILE, DIR or the name of an installed model; an adapter brings the base beside it */
  const char *models_dir;        /* NULL: the default folder */
  const char *compute;           /* a name of compute_mode_name */
  const char *kv;                /* a name of kv_type_name; NULL: f16 */
  const char *kernels;           /* a name of VARIANTS_CHOICES; NULL: auto */
  int threads;                   /* 0: the cores that may be used */
  size_t rows_max, out_rows_max; /* 0: the model's defaults */
  enum engine_speculation speculation;
};

struct local {
  struct pool *pool;
  struct compute *compute;
  struct model *model;
  enum engine_speculation speculation;
  struct adapter *adapter; /* NULL, or what every sequence goes through */
  const struct model_info *info;
  size_t context_tokens; /* the model's own; once there is an engine what the free memory has room for */
  struct tokenizer *tokenizer;
  struct chat_template *chat_template; /* NULL when the model has none that can be used … */
  struct error no_template;            /* … for this reason */
  char *name;                          /* what its endpoint would be called */
};

/* Loads everything; the source file is closed again. */
int local_open(struct local *l, const struct local_options *o, struct error *err);
void local_close(struct local *l); /* fine on {0} */
/* An engine over the loaded model, with its stop ids and token texts. l must stay. It has KV pages for so many
 * sequences of a full context; 0: the engine's default. */
struct engine *local_engine(struct local *l, size_t contexts, struct error *err);

/* Behind "the context of N" in a sentence: why it is not the model's own; else "". */
const char *local_context_note(const struct local *l);

#endif
