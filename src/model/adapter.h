/* adapter: what loading and merging of adapters share. Private to the room. SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_ADAPTER_H
#define MODEL_ADAPTER_H
#include "model/model.h"

/* Settings of adapter_config.json that change the arithmetic in a way that is not done here: refused by key, unless null, false or empty. */
int adapter__check(const struct file_adapter *f, struct error *err);
/* Of a tensor of the adapter: the module's name as PEFT's keys speak of it, and which of the two matrices it is. False: neither. */
bool adapter__split(struct slice name, struct slice *ret_module, bool *ret_is_b);
/* The module's name below "model." or "transformer.". */
struct slice adapter__below(struct slice module);
/* s of a module's product. */
int adapter__scale(const struct file_adapter *f, struct slice module, uint64_t rank, float *ret_scale, struct error *err);

#endif
