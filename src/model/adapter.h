/* adapter: what loading and merging of adapters share. Private to the room. SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_ADAPTER_H
#define MODEL_ADAPTER_H
#include "model/arch.h"

/* Settings of adapter_config.json that change the arithmetic in a way that is not done here: refused by key, unless null, false or empty. */
int adapter__check(const struct file_adapter *f, struct error *err);
/* Of a tensor of the adapter: the module's name as PEFT's keys speak of it, and which of the two matrices it is. False: neither. */
bool adapter__split(struct slice name, struct slice *ret_module, bool *ret_is_b);
/* The module's name below "model." or "transformer.". */
struct slice adapter__below(struct slice module);

/* What an adapter adds to one product; both tensors NULL: nothing. */
struct adapter_share {
  const struct file_tensor *a, *b;
  /* Tensors that hold the shares of all experts: */
  size_t n_stacked, expert; /* 0: not such ones */
  size_t b_row, b_rows;     /* this product's rows of B begin there; of so many in all */
  const char *parameter;    /* of the module, which alpha_pattern may name; or NULL */
};

/* The products of a layer: the architecture's sites, then gate, up and down of expert 0, of expert 1 … */
struct adapter_place {
  size_t layer, slot; /* slot SIZE_MAX: nowhere */
};
size_t adapter__slots(const struct model_arch *arch, const struct model_info *info);
/* Of a module that has a weight of its own. */
struct adapter_place adapter__find(const struct model_arch *arch, const struct model_info *info, struct slice module);

/* Of a parameter that holds the matrices of all experts: 0 for gate and up, 1 for down, and its layer; -1 for another name. */
int adapter__find_stack(const struct model_arch *arch, const struct model_info *info, struct slice name, size_t *ret_layer);

struct adapter_table {
  const struct model_arch *arch;
  const struct model_info *info;
  struct adapter_share *shares; /* [n_layers · n_slots] owned */
  size_t n_slots;
};
/* Every tensor of the adapter gets its place, or is refused by its name. Free t in any case. */
int adapter__table(struct adapter_table *t, const struct file_adapter *f, const struct model_arch *arch, const struct model_info *info,
                   struct error *err);
void adapter__table_free(struct adapter_table *t);
/* Both halves are there and fit a product [n_out, n_in]. */
int adapter__check_share(const struct file_adapter *f, const struct adapter_share *s, size_t n_out, size_t n_in, size_t *ret_rank,
                         struct error *err);
/* Of a checked share: s · A [rank, n_in] and B [n_out, rank] in new memory (free), or NULL. */
float *adapter__a(const struct file_adapter *f, const struct adapter_share *s, size_t rank, struct error *err);
float *adapter__b(const struct file_adapter *f, const struct adapter_share *s, size_t rank, size_t n_out, struct error *err);

#endif
